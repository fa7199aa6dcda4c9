# SPDX-License-Identifier: Apache-2.0
"""The agent's surroundings: a relay that speaks rubbish, names that nobody knows, visitors who vanish."""
import contextlib
import os
import socket
import ssl
import struct
import threading
import time

import node
from node import frame
from place import Service, check, echo, echoes, rests, scenario, settles, until


def welcome(interval=15_000, version=1):
    payload = struct.pack(">HI", version, 0) + node.text16("home") + b"\x00" + b"\x00" + struct.pack(">I", interval)
    return frame(node.WELCOME, payload + node.bytes8(bytes(16)) + node.bytes8(bytes(32)) + struct.pack(">IQ", 20_000, 1 << 16))


class FalseRelay:
    """Has the relay's port, a key, and one answer for each who connects."""

    def __init__(self, place, key, answers, ends=True):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(key.certificate, key.key)
        self.context.set_alpn_protocols(["natfwt/1"])
        # The agent's own certificate is nobody's: it is not looked at here.
        self.answers, self.ends, self.served = answers, ends, 0
        self.listener = socket.create_server(("127.0.0.1", place.tunnel_port), backlog=64)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(plain, self.answers[self.served % len(self.answers)]), daemon=True).start()
            self.served += 1

    def serve(self, plain, answer):
        with contextlib.suppress(OSError), plain:
            plain.settimeout(5)
            if answer is None:
                plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            with self.context.wrap_socket(plain, server_side=True) as end:
                end.recv(65_536)
                end.sendall(answer)
                with contextlib.suppress(OSError):
                    while not self.ends and end.recv(65_536):
                        pass

    def close(self):
        # The thread that accepts would keep it.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@scenario
def false_relay(place):
    """5, 10, 11: another relay's key, rubbish with the right key: the agent tells, waits, and comes back to the right one."""
    service = Service()
    port = place.ports[0]
    place.deploy([(port, service.port)], agent={"timeouts": {"backoff-initial": "50ms", "backoff-maximum": "100ms"}})
    place.relay.kill()
    said = len(place.agent.log())
    false = FalseRelay(place, node.Key(place.folder, "false"), [b""])
    place.agent.says("another relay", after=said)
    false.close()
    right = node.Key(place.folder, "right", key=f"{place.state}/relay.key")
    hello = welcome()
    answers = [
        None, b"", os.urandom(50_000), hello[:20], hello + hello, hello + os.urandom(1_000), frame(node.PING, b"x"),
        welcome(interval=0), welcome(version=7), hello + node.open_stream(1), hello + node.open_stream(2) * 2,
        hello + node.open_stream(2, port=1), hello + frame(node.EXPOSED, struct.pack(">IH", 1, 65_535) + node.text16("")),
        hello + frame(node.EXPOSED, struct.pack(">IH", 99, 1) + node.text16("")), hello + frame(node.GOAWAY, b"\xff" * 4),
        hello + frame(node.GOAWAY, struct.pack(">I", 77) + node.text16(b"\xff\xfe")),
        hello + frame(node.GOAWAY, struct.pack(">I", 0) + node.text16("a\x1b[31m\nline" * 20)), hello + frame(99, b"", 0),
        hello + b"".join(node.open_stream(2 * number, port=port) for number in range(1, 3_000)),
    ]
    false = FalseRelay(place, right, answers)
    most = place.agent.memory()
    until("every answer was given", lambda: false.served > len(answers) + 1)
    check(place.agent.is_running(), f"the agent ended with {place.agent.process.returncode}")
    check("\x1b" not in place.agent.log(), "the relay's text reaches the terminal as it is")
    check(place.agent.memory() < most + 30_000, f"the agent had {most} KiB and has {place.agent.memory()}")
    false.close()
    # One that says nothing at all.
    silent = FalseRelay(place, right, [hello], ends=False)
    until("the agent is there", lambda: silent.served > 0)
    rests("the agent", place.agent, 0.5)
    silent.close()
    place.agent.kill()
    place.start_agent()
    time.sleep(0.2)
    place.start_relay()
    until("a visit works", lambda: echoes(port))


@scenario
def names(place):
    """59: a service's name that nobody knows: visitors are told, and the log is not flooded."""
    service = Service()
    place.deploy([(place.ports[0], service.port), (place.ports[1], "no-such-host.invalid:80")])
    lines = len(place.agent.log().splitlines())
    begin = time.monotonic()
    for _ in range(20):
        with contextlib.suppress(ConnectionResetError):
            with socket.create_connection(("127.0.0.1", place.ports[1]), 20) as end:
                check(not end.recv(1), "somebody answers")
    seconds = time.monotonic() - begin
    echo(place.ports[0])
    more = len(place.agent.log().splitlines()) - lines
    check(more < 20 + 20 * seconds, f"{more} lines of log in {seconds:.0f} s")
    check("no-such-host.invalid" in place.agent.log(), "the log does not name the name")
    # And the relay's.
    top = place.joined.replace(f"127.0.0.1:{place.tunnel_port}", f"no-such-relay.invalid:{place.tunnel_port}")
    place.write_agent([(place.ports[0], service.port)], top=top)
    place.agent.kill()
    place.start_agent()
    place.agent.says("no-such-relay.invalid")
    rests("the agent", place.agent, 0.5)


@scenario
def vanished(place):
    """46: a visitor who is silent is asked by the kernel whether he is there (its keep-alive timer runs)."""
    service = Service()
    port = place.ports[0]
    place.deploy([(port, service.port)])
    with socket.create_connection(("127.0.0.1", port), 5) as end:
        end.sendall(b"x")
        check(end.recv(1) == b"x", "no echo")

        def timers():
            with open("/proc/net/tcp", encoding="utf-8") as file:
                rows = [line.split() for line in file.readlines()[1:]]
            return [row[5][:2] for row in rows if row[3] == "01" and int(row[1].split(":")[1], 16) == port]

        until(lambda: f"its keep-alive timer runs: {timers()}", lambda: timers() == ["02"])
