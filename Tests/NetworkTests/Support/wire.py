# SPDX-License-Identifier: Apache-2.0
"""A wire between the interfaces `left` and `right` that delays, loses, doubles and corrupts frames.

The settings are read from a JSON file whenever it changes. Frames keep their offload header (PACKET_VNET_HDR), so
super-packets and unfinished checksums pass as they would through a bridge.
"""
import heapq
import json
import os
import random
import select
import socket
import sys
import time

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 15, 23, 3
VNET_HEADER, NEEDS_CHECKSUM = 10, 1


def tap(name):
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL))
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
    end.bind((name, 0))
    return end


class Wire:
    def __init__(self, path):
        self.path, self.stamp = path, None
        self.left, self.right = tap("left"), tap("right")
        self.queue, self.number = [], 0
        self.random = random.Random(1)

    def settings(self):
        stamp = os.stat(self.path).st_mtime_ns
        if stamp != self.stamp:
            with open(self.path, encoding="utf-8") as file:
                self.now = json.load(file)
            self.stamp = stamp
        return self.now

    def luck(self, percent):
        return percent > 0 and self.random.random() * 100 < percent

    def take(self, frame, to, settings):
        if self.luck(settings["loss"]):
            return
        if self.luck(settings["corrupt"]) and len(frame) > VNET_HEADER + 40:
            # An unfinished checksum is never verified, so that the damage would get through as it can't on a real wire.
            # There the receiver's checksum finds it, and the frame is lost.
            if frame[0] & NEEDS_CHECKSUM:
                return
            frame = bytearray(frame)
            frame[self.random.randrange(VNET_HEADER + 34, len(frame))] ^= 1 << self.random.randrange(8)
        copies = 2 if self.luck(settings["duplicate"]) else 1
        for _ in range(copies):
            delay = max(0.0, settings["delay"] + self.random.uniform(-1, 1) * settings["jitter"]) / 1000
            self.number += 1
            heapq.heappush(self.queue, (time.monotonic() + delay, self.number, bytes(frame), to))

    def deliver(self):
        now = time.monotonic()
        while self.queue and self.queue[0][0] <= now:
            _, _, frame, to = heapq.heappop(self.queue)
            try:
                to.send(frame)
            except OSError:
                pass  # A full or downed interface loses the frame, as a wire does.

    def run(self):
        other = {self.left: self.right, self.right: self.left}
        while True:
            wait = max(0.0, self.queue[0][0] - time.monotonic()) if self.queue else 1.0
            ready, _, _ = select.select(list(other), [], [], wait)
            settings = self.settings()
            for end in ready:
                for _ in range(64):
                    try:
                        self.take(end.recv(70000), other[end], settings)
                    except BlockingIOError:
                        break
                    except OSError:
                        break
            self.deliver()


wire = Wire(sys.argv[1])
wire.settings()
print("ready", flush=True)
wire.run()
