# SPDX-License-Identifier: Apache-2.0
"""The products: each with the configuration that its documentation suggests, nothing tuned but the limits on connections.

A product carries 127.0.0.1:tcp_port, and where it can 127.0.0.1:udp_port, to the backend.
"""

import os
import re
import subprocess
from pathlib import Path

from machine import find
from place import address, answers_tcp, answers_udp
from processes import ProcessFailed, Processes

HOUR = "1h"


class Product:
    """One way from a visitor to the backend, running."""

    name = ""
    encrypts = False
    carries_udp = False
    idle_connections_max = 1_000_000  # past this the product is not asked
    load_prefix = []  # what stands before the load generator on its command line

    def __init__(self, place):
        self.place = place
        self.processes = Processes(place.new_folder(self.name))
        self.tcp_port = place.free_port()
        self.udp_port = place.free_port() if self.carries_udp else None
        self.to = address(place.backend_port)
        try:
            self.start()
            self.processes.wait_until(self.is_ready, f"{self.name} did not carry a connection")
        except BaseException:
            self.processes.stop()
            raise

    def start(self):
        raise NotImplementedError

    def target(self):
        """What the load generator is told to connect to."""
        return ["--target", address(self.tcp_port)]

    def udp_target(self):
        return ["--target", address(self.udp_port)]

    def is_ready(self):
        return answers_tcp(self.tcp_port) and (self.udp_port is None or answers_udp(self.udp_port))

    def write(self, name, text, mode=0o600):
        path = self.processes.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def run(self, command):
        """Runs a command that ends by itself, and returns what it printed."""
        done = subprocess.run([str(part) for part in command], cwd=self.processes.folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            text = (done.stderr + done.stdout).strip()
            raise ProcessFailed(f"\"{Path(str(command[0])).name} {command[1]}\" ended with status {done.returncode}: {text}")
        return done.stdout

    def stop(self):
        self.processes.stop()


class Raw(Product):
    """No relay: the visitor talks to the backend."""

    name = "raw"
    carries_udp = True

    def start(self):
        self.tcp_port = self.udp_port = self.place.backend_port


class Socat(Product):
    """One plain hop, a process a connection."""

    name = "socat"
    carries_udp = True
    idle_connections_max = 1_000

    def start(self):
        tcp = f"TCP4-LISTEN:{self.tcp_port},bind=127.0.0.1,fork,reuseaddr,backlog=1024,nodelay"
        udp = f"UDP4-LISTEN:{self.udp_port},bind=127.0.0.1,fork,reuseaddr"
        self.processes.start("socat-tcp", [find("socat"), tcp, f"TCP4:{self.to},nodelay"])
        self.processes.start("socat-udp", [find("socat"), "-T", "60", udp, f"UDP4:{self.to}"])


class HAProxy(Product):
    """One plain hop in TCP mode."""

    name = "haproxy"

    def start(self):
        configuration = self.write("haproxy.cfg", f"""\
global
    maxconn 9900
defaults
    mode tcp
    timeout connect 10s
    timeout client {HOUR}
    timeout server {HOUR}
listen bench
    bind {address(self.tcp_port)} backlog 4096
    server backend {self.to}
""")
        self.processes.start("haproxy", [find("haproxy"), "-db", "-f", configuration])


class Stunnel(Product):
    """Two hops with TLS between them; it does not traverse a NAT."""

    name = "stunnel"
    encrypts = True

    def start(self):
        key = self.processes.folder / "key.pem"
        certificate = self.processes.folder / "certificate.pem"
        self.run([find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                  "-subj", "/CN=bench", "-days", "30", "-keyout", key, "-out", certificate])
        middle = self.place.free_port()
        common = "foreground = yes\npid =\ndebug = 4\n"
        server = self.write("server.conf", f"{common}[bench]\naccept = {address(middle)}\nconnect = {self.to}\n"
                                           f"cert = {certificate}\nkey = {key}\n")
        client = self.write("client.conf", f"{common}[bench]\nclient = yes\naccept = {address(self.tcp_port)}\n"
                                           f"connect = {address(middle)}\nCAfile = {certificate}\nverifyPeer = yes\n")
        self.processes.start("stunnel-server", [find("stunnel4"), server])
        self.processes.start("stunnel-client", [find("stunnel4"), client])


class SSH(Product):
    """ssh -R: the agent's side dials in, the server listens; one connection for all."""

    name = "ssh"
    encrypts = True

    def start(self):
        folder = self.processes.folder
        for name in ("host", "user"):
            self.run([find("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
        port = self.place.free_port()
        keys = self.write("authorized_keys", (folder / "user.pub").read_text())
        self.write("known_hosts", f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
        server = self.write("sshd_config", f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {keys}
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
""")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd will not start without it
        self.processes.start("sshd", [find("sshd"), "-D", "-e", "-f", server])
        self.processes.wait_until(lambda: is_listening(port), "sshd did not listen")
        options = ["BatchMode=yes", f"UserKnownHostsFile={folder}/known_hosts", "GlobalKnownHostsFile=/dev/null",
                   "IdentitiesOnly=yes", "ExitOnForwardFailure=yes", "StrictHostKeyChecking=yes"]
        self.processes.start("ssh", [find("ssh"), "-F", "none", "-N", "-p", port, "-i", folder / "user",
                                     *[part for option in options for part in ("-o", option)],
                                     *self.forwards(), "127.0.0.1"])

    def forwards(self):
        return ["-R", f"{address(self.tcp_port)}:{self.to}"]


class Natfwt(Product):
    """Our relay and our agent."""

    name = "natfwt"
    encrypts = True
    carries_udp = True

    def start(self):
        self.start_relay()
        self.start_agent("bench")

    def start_relay(self):
        folder = self.processes.folder
        port = self.port = self.place.free_port()
        self.configuration = self.write("relay.toml", f"""\
listen = ["{address(port)}"]
state-directory = "{folder}/state"
admin-socket = "{folder}/relay.sock"

[expose]
bind = ["127.0.0.1"]

[log]
level = "warning"

[limits]
opens-per-second = 1000000
""")
        (folder / "state").mkdir(mode=0o700)
        self.processes.start("relay", [self.place.natfwt, "relay", "--config", self.configuration])
        self.processes.wait_until(lambda: is_listening(port), "the relay did not listen")

    def start_agent(self, name):
        folder = self.processes.folder
        printed = self.run([self.place.natfwt, "invite", name, "--config", self.configuration, "--address",
                            address(self.port)])
        invite = re.search(r"natfwt1\.\S+", printed)
        if invite is None:
            raise ProcessFailed(f"\"natfwt invite\" printed no invite: {printed.strip()}")
        self.run([self.place.natfwt, "join", invite.group(), "--directory", folder / name])
        self.complete_agent_settings(name, folder / name / "agent.toml")
        self.processes.start(name, [self.place.natfwt, "agent", "--config", folder / name / "agent.toml"])

    def complete_agent_settings(self, name, path):
        """Adds to what "natfwt join" wrote: keys of the file itself before its first table, tables at its end."""
        settings = path.read_text()
        if not re.search(r"^admin-socket", settings, re.MULTILINE):
            settings = f"admin-socket = \"{path.parent}/agent.sock\"\n{settings}"
        for table, text in (("log", 'level = "warning"'), ("limits", "opens-per-second = 1000000")):
            if not re.search(rf"^\[{table}\]", settings, re.MULTILINE):
                settings += f"\n[{table}]\n{text}\n"
        path.write_text(settings + self.tables(name))

    def tables(self, name):
        """What this agent does."""
        return "".join(f"\n[[expose]]\nprotocol = \"{protocol}\"\nservice = \"{self.to}\"\nport = {port}\n"
                       for protocol, port in (("tcp", self.tcp_port), ("udp", self.udp_port)))


def is_listening(port):
    """Whether a TCP socket listens on this port of the namespace, told without a connection to it."""
    wanted = f":{port:04X} "
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return any(wanted in line[:28] and line.split()[3] == "0A" for line in lines)


KINDS = [Raw, Socat, HAProxy, Stunnel, SSH, Natfwt]
