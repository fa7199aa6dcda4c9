# SPDX-License-Identifier: Apache-2.0
"""Whether it is still the right one: replayed logins, nodes that are removed, clocks that differ, keys that are replaced."""
import contextlib
import os
import signal
import socket
import subprocess
import threading
import time

import node
import processes
from node import frame
from place import Service, check, echo, echoes, scenario, settles, until


class Recorder:
    """Stands between an agent and its relay and keeps what each of them said, by connection."""

    def __init__(self, target):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.said = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(("127.0.0.1", self.target))
            said = ([], [])
            self.said.append(said)
            for source, sink, kept in ((near, far, said[0]), (far, near, said[1])):
                threading.Thread(target=self.copy, args=(source, sink, kept), daemon=True).start()

    @staticmethod
    def copy(source, sink, kept):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                kept.append(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@scenario
def replayed(place):
    """23: a recorded login is of no use: not to the relay, not to the agent; nor is the same HELLO with another key."""
    service = Service()
    port = place.ports[0]
    recorder = Recorder(place.tunnel_port)
    place.write_relay()
    place.start_relay()
    place.join()
    place.write_agent([(port, service.port)], top=place.joined.replace(str(place.tunnel_port), str(recorder.port)))
    place.start_agent()
    place.opened(port)
    echo(port)
    upwards, downwards = (list(said) for said in recorder.said[0])
    check(upwards and downwards, "nothing was recorded")
    sessions = place.relay.log().count("node connected")
    for pieces in (upwards, [b"".join(upwards)]):
        with socket.create_connection(("127.0.0.1", place.tunnel_port), 5) as end:
            begin = time.monotonic()
            with contextlib.suppress(OSError):
                for piece in pieces:
                    end.sendall(piece)
                    time.sleep(0.05)
                while end.recv(65_536):
                    pass
            check(time.monotonic() - begin < 5, "a replayed login is kept")
    check(place.relay.log().count("node connected") == sessions, "a replayed login is let in")
    echo(port)
    check(len(recorder.said) == 1, "the session was replaced")
    # The relay's bytes to the agent.
    place.relay.kill()
    listener = socket.create_server(("127.0.0.1", place.tunnel_port))
    said = len(place.agent.log())
    for _ in range(2):
        listener.settimeout(10)
        end, _ = listener.accept()
        with contextlib.suppress(OSError), end:
            end.recv(65_536)
            for piece in downwards:
                end.sendall(piece)
            end.settimeout(5)
            while end.recv(65_536):
                pass
    listener.close()
    check("session active" not in place.agent.log()[said:], "a replayed relay is believed")
    place.start_relay()
    until("a visit works", lambda: echoes(port))
    # The same words with another key: an invite that was used, and one that was used by a node that is gone.
    key, thief = node.Key(place.folder), node.Key(place.folder, "thief")
    token = node.token(place.invite("owner"))
    node.Node(place.tunnel_port, key, token).close()
    node.Node(place.tunnel_port, key, token).close()
    refused(place, thief, token, "used by another node")
    check(place.run("nodes", "remove", "owner", "--config", place.relay_file).returncode == 0, "owner is not removed")
    refused(place, thief, token, "used by another node")
    refused(place, key, token, "was removed")


def refused(place, key, token, word):
    try:
        node.Node(place.tunnel_port, key, token).close()
    except ConnectionError as error:
        check(word in str(error), f"{error}, and not “{word}”")
    else:
        check(False, "it is let in")


@scenario
def removed(place):
    """23: a node that is removed while it serves loses its session, its port and its visitors within five seconds."""
    service = Service()
    first, second = place.ports[:2]
    place.deploy([(first, service.port)])
    other = node.Node(place.tunnel_port, node.Key(place.folder), node.token(place.invite("other")))
    other.expose(1, second)
    descriptors = place.relay.descriptors()
    for turn in range(3):
        with socket.create_connection(("127.0.0.1", first), 5) as kept:
            kept.settimeout(5)
            kept.sendall(b"x")
            check(kept.recv(1) == b"x", "no echo")
            said, begin = len(place.agent.log()), time.monotonic()
            result = place.run("nodes", "remove", "home", "--config", place.relay_file)
            check(result.returncode == 0, f"{result}")
            until("the port is closed", lambda: not place.listens(first), 5)
            with contextlib.suppress(ConnectionResetError):
                check(not kept.recv(1), "the visitor is still served")
            print(f"removed after {time.monotonic() - begin:.2f} s")
        place.agent.says("revoked", after=said)
        check([one["node"] for one in place.status()["nodes"]] == ["other"], "the node is still shown")
        # It tries again, with its old invite too, and is refused; with a new one it is back.
        time.sleep(1)
        check(not place.listens(first), "it is back without an invite")
        place.agent.kill()
        place.join()
        place.write_agent([(first, service.port)])
        place.start_agent()
        place.opened(first)
        echo(first)
    settles("the relay's descriptors", place.relay.descriptors, descriptors + 1)
    other.send(frame(node.PING, b"12345678"))
    other.wait(node.PONG)
    # One that is removed while it stops answering, and one between its connection and its word.
    other.close()
    late = node.Node(place.tunnel_port, node.Key(place.folder), introduce=False)
    check(place.run("nodes", "remove", "other", "--config", place.relay_file).returncode == 0, "other is not removed")
    late.send(node.hello())
    _, _, payload, _ = late.wait(node.WELCOME, node.GOAWAY)
    check(b"removed" in payload, f"{payload}")
    late.close()


@scenario
def clocks(place):
    """23, 57: a relay's clock that is ten minutes off, either way: logins, invites and removals go on."""
    shifted = processes.shifted_clock(place)
    if not shifted:
        return
    environment, jump = shifted
    service = Service()
    port = place.ports[0]
    for seconds in (600, -600):
        jump(seconds)
        place.write_relay()
        place.start_relay(env=environment)
        # The command and the agent have the right time.
        place.join()
        place.write_agent([(port, service.port)])
        place.start_agent()
        place.opened(port)
        echo(port)
        # It jumps to right in mid-session, and what was seen in ten minutes does no harm.
        jump(0)
        place.agent.kill()
        place.start_agent()
        until("a visit works", lambda: echoes(port))
        short = place.run("invite", "short", "--config", place.relay_file, "--expires", "5m")
        check(short.returncode == 0, f"{short}")
        token = node.token(short.stdout.strip().splitlines()[-1])
        jump(seconds)
        key = node.Key(place.folder, f"short{seconds}")
        # For a relay that is ahead its five minutes are over, which is forgiven for that reason.
        node.Node(place.tunnel_port, key, token).close()
        check(place.run("nodes", "remove", "short", "--config", place.relay_file).returncode == 0, "not removed")
        check(place.run("nodes", "remove", "home", "--config", place.relay_file).returncode == 0, "home is not removed")
        until("the port is closed", lambda: not place.listens(port), 5)
        place.agent.kill()
        place.relay.kill()


def spoilt(path):
    """What may become of a key's file, with the words that tell of it; the first is how it was."""
    with open(path, "rb") as file:
        right = file.read()
    other = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True).stdout
    wrong = subprocess.run(["openssl", "genpkey", "-algorithm", "x25519"], capture_output=True, check=True).stdout
    yield "other", other, "differs from the one in use"
    yield "truncated", right[:60], "would not start again"
    yield "empty", b"", "would not start again"
    yield "rubbish", os.urandom(200), "would not start again"
    yield "another kind", wrong, "would not start again"
    yield "too long", right * 400, "would not start again"
    yield "gone", None, "is gone"
    yield "a folder", "folder", "would not start again"
    yield "open to all", "mode", "would not start again"
    yield "a link to another", "link", "differs from the one in use"
    yield "right", right, None


@scenario
def keys(place):
    """9: the key's file replaced, cut, unreadable, under load, and SIGHUP: it goes on with the key it has, and says so."""
    service = Service()
    port = place.ports[0]
    place.deploy([(port, service.port)])
    kept = socket.create_connection(("127.0.0.1", port), 5)
    kept.settimeout(5)
    over, failures, visits = threading.Event(), [], []

    def visit():
        while not over.is_set():
            try:
                echo(port, os.urandom(100_000))
                visits.append(1)
            except Exception as error:
                failures.append(error)

    visitor = threading.Thread(target=visit, daemon=True)
    visitor.start()
    for program, path in ((place.relay, f"{place.state}/relay.key"), (place.agent, f"{place.home}/node.key")):
        with open(path, "rb") as file:
            right = file.read()
        for name, content, word in list(spoilt(path)):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.remove(path)
            if content == "folder":
                os.mkdir(path)
            elif content == "link":
                subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path + ".other"], check=True)
                os.chmod(path + ".other", 0o600)
                os.symlink(path + ".other", path)
            elif content is not None:
                with open(path, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                    file.write(right if content == "mode" else content)
                if content == "mode":
                    os.chmod(path, 0o644)
            said = len(program.log())
            program.send(signal.SIGHUP)
            program.says("the settings are read anew", after=said)
            text = program.log()[said:]
            check(word in text if word else "key" not in text, f"{name}: {text}")
            check(right.splitlines()[1].decode() not in text, f"{name}: the key is in the log")
            kept.sendall(b"x")
            check(kept.recv(1) == b"x", f"{name}: the open connection does not go on")
            if content == "folder":
                os.rmdir(path)
    over.set()
    visitor.join()
    kept.close()
    check(not failures and visits, f"visitors meanwhile: {failures[:3]}")
    # All is as it was: a restart is the same node at the same relay.
    for program in (place.agent, place.relay):
        check(program.stop() == 0, "it does not stop")
    place.start_relay()
    place.start_agent()
    until("a visit works", lambda: echoes(port))
