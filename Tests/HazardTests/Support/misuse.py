# SPDX-License-Identifier: Apache-2.0
"""The command line and the files of settings, used wrongly."""
import os
import signal
import stat
import subprocess
import time

from place import Service, check, echo, scenario, until


@scenario
def options(place):
    """37: each option without its value, twice, unknown, empty, in no encoding: code 64 and a word, or it works."""
    place.write_relay()
    cases = [
        [], ["--no-such"], ["relay", "--config"], ["relay", "--listen"], ["relay", "--listen", "nonsense"],
        ["relay", "--listen", "127.0.0.1:0"], ["relay", "--listen", "127.0.0.1:65536"], ["relay", "--listen", ""],
        ["relay", "--log-level", "loud"], ["relay", "extra"], ["relay", "--", "--config"], ["invite"],
        ["invite", ""], ["invite", "a b"], ["invite", "x" * 1_000], ["invite", "x", "--expose"],
        ["invite", "x", "--expose", "tcp"], ["invite", "x", "--expose", "tcp:0"], ["invite", "x", "--expose", "tcp:5-3"],
        ["invite", "x", "--expose", "tcp:1-99999"], ["invite", "x", "--expires", "soon"], ["invite", "x", "--expires", "-1s"],
        ["invite", "x", "--address", "::::"], ["join"], ["join", ""], ["join", "natfwt1."], ["join", "natfwt1.AAAA"],
        ["join", "x" * 100_000], ["join", "natfwt9.AAAA"], ["expose"], ["expose", "tcp"], ["expose", "sctp", "1:2"],
        ["expose", "tcp", "nowhere"], ["expose", "tcp", "127.0.0.1:0"], ["expose", "tcp", "127.0.0.1:99999"],
        ["expose", "tcp", "127.0.0.1:1", "--port", "-1"], ["expose", "tcp", "127.0.0.1:1", "--port", "70000"],
        ["expose", "tcp", "127.0.0.1:1", "--proxy-protocol", "v9"], ["status", "--socket"], ["status", "--socket", ""],
        ["status", "--socket", "/nonexistent/x"], ["status", "--socket", "x" * 200], ["nodes"], ["nodes", "remove"],
        ["nodes", "remove", "nobody", "--config", place.relay_file], ["agent", "--config", "/nonexistent"],
        ["agent", "--config", "/"], ["agent", "--config", ""], ["relay", "--config", "/dev/null/x"],
        ["relay", "--state-directory", "/proc/nonexistent", "--listen", f"127.0.0.1:{place.ports[0]}"],
        ["relay", "--state-directory", "", "--listen", f"127.0.0.1:{place.ports[0]}"],
        ["relay", "--config", "a", "--config", "b"], [b"\xff\xfe"], ["invite", b"\xff\xfe"], ["join", b"\xff\xfe\x00"[:2]],
        ["relay", "--config", b"/tmp/\xff"], ["status", "--socket", b"/tmp/\xff"],
    ]
    environment = {**os.environ, "HOME": place.home, "XDG_RUNTIME_DIR": place.folder}
    wrong = []
    for arguments in cases:
        # A command that is understood after all would run for ever: that is a failure too.
        try:
            result = subprocess.run([place.binary, *arguments], capture_output=True, timeout=10, env=environment,
                                    cwd=place.folder)
        except subprocess.TimeoutExpired:
            wrong.append((arguments, "runs"))
            continue
        text = (result.stderr + result.stdout).decode(errors="replace").strip()
        print(result.returncode, [str(part)[:40] for part in arguments], text[:150].replace("\n", " | "))
        if result.returncode not in (64, 69, 77, 78) and arguments not in ([], ["nodes"]):
            wrong.append((arguments, result.returncode, text[:200]))
        if not text:
            wrong.append((arguments, result.returncode, "says nothing"))
        if "Fatal error" in text or result.returncode < 0:
            wrong.append((arguments, result.returncode, text[:200]))
    check(not wrong, "\n".join(str(case)[:300] for case in wrong))
    for variables in ({}, {"LANG": "C"}, {"HOME": ""}):
        result = subprocess.run([place.binary, "status"], capture_output=True, text=True, timeout=10, env=variables)
        check(result.returncode in (0, 69), f"{variables}: {result}")
    # argv[0] missing altogether.
    script = "import ctypes; ctypes.CDLL(None).execv(%r, (ctypes.c_char_p * 1)(None))" % place.binary.encode()
    result = subprocess.run(["python3", "-c", script], capture_output=True, text=True, timeout=10)
    check(result.returncode in (0, 64), f"{result}")
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        result = subprocess.run(["sh", "-c", f'"{place.binary}" --help {closed}'], capture_output=True, timeout=10)
        check(0 <= result.returncode < 128, f"{closed}: {result.returncode}")


@scenario
def files(place):
    """35: rubbish as the file of settings: code 78, the file's name and line, and never a crash."""
    place.write_relay()
    with open(place.relay_file, encoding="utf-8") as file:
        right = file.read()
    path = f"{place.folder}/wrong.toml"
    cases = {
        "unknown": "[limits]\nnodez = 4\n", "type": "listen = 5\n", "twice": "listen = []\nlisten = []\n",
        "port": 'listen = ["127.0.0.1:65536"]\n', "zero": "[limits]\nnodes = 0\n", "negative": "[limits]\nnodes = -1\n",
        "huge": "[limits]\nnodes = 99999999999999999999\n", "float": "[limits]\nnodes = 1.5\n",
        "duration": '[timeouts]\nhandshake = "10"\n', "long duration": '[timeouts]\nhandshake = "999999999999h"\n',
        "size": '[limits]\nqueued-bytes-per-node = "9999999999 GiB"\n', "nul": "\0", "binary": "\x01\x02\x7f",
        "nested": "a = " + "[" * 10_000, "tables": "[a" + ".a" * 10_000 + "]\n", "open": 'listen = ["127',
        "long line": "x" * 3_000_000, "bom twice": "\ufeff\ufeff" + right, "ports": '[expose]\nports = ["tcp:5-3"]\n',
        "socket": 'admin-socket = "' + "x" * 200 + '"\n', "empty listen": "listen = []\n", "cr": "listen = 5\rnodes",
    }
    for name, text in cases.items():
        with open(path, "wb") as file:
            file.write(text.encode())
        begin = time.monotonic()
        result = place.run("relay", "--config", path, seconds=20)
        print(name, result.returncode, result.stderr.strip()[:160])
        check(result.returncode == 78, f"{name}: {result.returncode} {result.stderr[:300]}")
        check("wrong.toml" in result.stderr, f"{name}: {result.stderr[:300]}")
        check(len(result.stderr) < 3_000, f"{name}: {len(result.stderr)} bytes of message")
        check(time.monotonic() - begin < 5, f"{name}: {time.monotonic() - begin:.1f} s")
    for name, text in {"bom": "\ufeff" + right, "crlf": right.replace("\n", "\r\n"), "tabs": right.replace(" = ", "\t=\t")}.items():
        with open(path, "wb") as file:
            file.write(text.encode())
        program = place.start(name, "relay", "--config", path)
        program.says("the relay is ready")
        check(program.stop() == 0, f"{name}: {program.process.returncode}")
    with open(path, "wb") as file:
        file.write(b"\xff\xfe\xfd")
    check(place.run("relay", "--config", path).returncode == 78, "bytes that are no UTF-8")
    os.remove(path)
    os.mkdir(path)
    result = place.run("relay", "--config", path)
    check(result.returncode == 78 and "wrong.toml" in result.stderr, f"a folder: {result}")
    os.rmdir(path)
    os.mkfifo(path)
    result = subprocess.run(["timeout", "5", place.binary, "relay", "--config", path], capture_output=True, text=True)
    check(result.returncode in (78, 124), f"a pipe: {result}")


@scenario
def secrets(place):
    """35, 56: keys and invites that others may read, of another owner, or damaged."""
    service = Service()
    place.deploy([(place.ports[0], service.port)])
    place.agent.kill()
    key = f"{place.home}/node.key"
    with open(key, "rb") as file:
        whole = file.read()
    for content in (b"", whole[: len(whole) // 2], os.urandom(100), b"x" * 10_000_000, whole.replace(b"M", b"N", 1)):
        with open(key, "wb") as file:
            file.write(content)
        result = place.run("agent", "--config", place.agent_file, seconds=10)
        check(result.returncode == 78 and "node.key" in result.stderr, f"{result.returncode} {result.stderr[:300]}")
    with open(key, "wb") as file:
        file.write(whole)
    os.chmod(key, 0o644)
    result = subprocess.run(["timeout", "3", place.binary, "agent", "--config", place.agent_file], capture_output=True,
                            text=True)
    check(result.returncode == 78 and "node.key" in result.stderr, f"a key that all may read: {result}")
    print(result.stderr)
