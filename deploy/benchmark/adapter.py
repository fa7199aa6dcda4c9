# SPDX-License-Identifier: Apache-2.0
"""deploy/bench adapter: natfwt's adapter beside OpenVPN (userspace, UDP, AES-256-GCM), measured in turn: TCP with iperf3, UDP with
the load generator, which leaves more of the CPU to the tunnel (a datagram a call takes as much of it as the tunnel does).

    client 10.77.1.2 ──veth── 10.77.1.1 relay, routes 10.77.2.1 ──veth── 10.77.2.2 server

Three network namespaces with names of their own. natfwt: an agent and an adapter on client and server, the relay between.
OpenVPN: from client to server over the same two veth pairs, without its kernel module. Prints, as JSON, the medians.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
from processes import ProcessFailed, Processes, cpu_seconds_of

USAGE, UNAVAILABLE, FAILED = 64, 69, 1
SIDES = {"client": 1, "server": 2}
TUNNEL_PORT, IPERF_PORT, UDP_PORT = 4433, 5201, 5202
PAYLOAD = 1_200
CONGESTION = ["cubic", "reno"]  # the first that can be had in a namespace; none that paces
TARGETS = {"tcp_gbit_per_s": 5.0, "tcp_times_openvpn": 4.0, "udp_packets_per_s": 150_000}


class Net:
    """The namespaces and the links between them."""

    def __init__(self):
        self.prefix = f"natfwt-bench-{os.getpid()}"

    def name(self, role):
        return f"{self.prefix}-{role}"

    def inside(self, role, *command):
        return ["ip", "netns", "exec", self.name(role), *map(str, command)]

    def run(self, *command):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise ProcessFailed(f"{' '.join(map(str, command))}: {(done.stderr + done.stdout).strip()}")
        return done.stdout

    def ip(self, role, words):
        self.run("ip", "-n", self.name(role), *words.split())

    def make(self):
        for role in ("relay", *SIDES):
            self.run("ip", "netns", "add", self.name(role))
            self.ip(role, "link set lo up")
            # As in the other rows: the kernel's own, whatever this machine has.
            tries = " || ".join(f"echo {name} 2>&- > /proc/sys/net/ipv4/tcp_congestion_control" for name in CONGESTION)
            self.run(*self.inside(role, "sh", "-c", tries))
        for role, number in SIDES.items():
            self.run("ip", "link", "add", "eth0", "netns", self.name(role), "type", "veth",
                     "peer", "name", role, "netns", self.name("relay"))
            self.ip(role, f"addr add 10.77.{number}.2/24 dev eth0")
            self.ip(role, "link set eth0 up")
            self.ip(role, f"route add default via 10.77.{number}.1")
            self.ip("relay", f"addr add 10.77.{number}.1/24 dev {role}")
            self.ip("relay", f"link set {role} up")
        self.run(*self.inside("relay", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"))

    def remove(self):
        for role in ("relay", *SIDES):
            subprocess.run(["ip", "netns", "del", self.name(role)], stderr=subprocess.DEVNULL, check=False)


class Tunnel:
    """One product between client and server, running."""

    name = ""
    any_address = "[::]"

    def __init__(self, net, folder, natfwt):
        self.net = net
        self.natfwt = natfwt
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=folder))
        self.processes = Processes(self.folder)
        self.start()

    def says(self, log, text):
        path = self.folder / f"{log}.log"
        self.processes.wait_until(lambda: text in path.read_text(), f"{self.name}: {log} did not say \"{text}\"")

    def cpu_seconds(self):
        return sum(cpu_seconds_of(process.pid) for _, process in self.processes.running)

    def stop(self):
        self.processes.stop()


class Adapter(Tunnel):
    """The two agents connect to each other, as OpenVPN's two sides do."""

    name = "natfwt"
    is_direct = True

    def start(self):
        relay = self.folder / "relay.toml"
        relay.write_text(f'listen = ["0.0.0.0:{TUNNEL_PORT}"]\nstate-directory = "{self.folder}/relay"\n'
                         f'admin-socket = "{self.folder}/relay.sock"\n')
        self.processes.start("relay", self.net.inside("relay", self.natfwt, "relay", "--config", relay))
        self.says("relay", "the relay is ready")
        for role, number in SIDES.items():
            invite = self.net.run(*self.net.inside("relay", self.natfwt, "invite", role, "--config", relay,
                                                   "--address", f"10.77.{number}.1:{TUNNEL_PORT}")).strip()
            self.net.run(self.natfwt, "join", invite, "--directory", self.folder / role)
            settings = self.folder / role / "agent.toml"
            kept = [line for line in settings.read_text().splitlines() if not line.startswith("admin-socket")]
            served = "".join(f'\n[[serve]]\nprotocol = "{kind}"\nports = [{port}]\nto = ["*"]\n'
                             for kind, port in (("tcp", IPERF_PORT), ("udp", UDP_PORT)))
            direct = f"\n[direct]\nenabled = {str(self.is_direct).lower()}\n"
            settings.write_text(f'admin-socket = "{self.socket(role)}"\n' + "\n".join(kept) + served + direct)
            self.processes.start(f"agent-{role}", self.net.inside(role, self.natfwt, "agent", "--config", settings))
            self.says(f"agent-{role}", "session active")
            self.processes.start(f"adapter-{role}", self.net.inside(
                role, self.natfwt, "adapter", "--no-dns", "--socket", self.socket(role)))
            self.says(f"adapter-{role}", "is up")
        self.address = re.search(r"2001:2[0-9a-f:]+", (self.folder / "adapter-server.log").read_text()).group()
        self.net.run(*self.net.inside("client", self.natfwt, "ping", self.address, "-c", 1, "--socket", self.socket("client")))
        self.processes.wait_until(self.is_on_its_way, f"{self.name}: the agents did not find each other")

    def is_on_its_way(self):
        nodes = json.loads(self.net.run(self.natfwt, "nodes", "--json", "--socket", self.socket("client")))
        return {"direct" if self.is_direct else "joined"} == {node["path"] for node in nodes if "path" in node}

    def socket(self, role):
        return self.folder / f"{role}.sock"


class RelayedAdapter(Adapter):
    """The same through the relay, over a connection that it has joined for the two."""

    name = "natfwt-relayed"
    is_direct = False


class OpenVPN(Tunnel):
    name = "openvpn"
    address = "10.99.0.2"
    any_address = "0.0.0.0"

    def start(self):
        prints = {}
        for role in SIDES:
            self.net.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                         "-keyout", self.folder / f"{role}.key", "-out", self.folder / f"{role}.crt", "-subj", f"/CN={role}")
            line = self.net.run("openssl", "x509", "-in", self.folder / f"{role}.crt", "-noout", "-fingerprint", "-sha256")
            prints[role] = line.strip().split("=")[1]
        self.openvpn("server", prints["client"], "--tls-server", "--dh", "none", "--ifconfig", "10.99.0.2", "10.99.0.1")
        self.openvpn("client", prints["server"], "--tls-client", "--ifconfig", "10.99.0.1", "10.99.0.2",
                     "--remote", "10.77.2.2", "1194")
        self.says("client", "Initialization Sequence Completed")

    def openvpn(self, role, fingerprint, *options):
        self.processes.start(role, self.net.inside(
            role, machine.find("openvpn"), "--dev", "tun", "--disable-dco", "--proto", "udp", "--port", "1194",
            "--peer-fingerprint", fingerprint, "--cert", self.folder / f"{role}.crt", "--key", self.folder / f"{role}.key",
            "--data-ciphers", "AES-256-GCM", "--sndbuf", str(4 << 20), "--rcvbuf", str(4 << 20), "--verb", "1", *options))


def tcp(tunnel, options):
    before = tunnel.cpu_seconds()
    text = tunnel.net.run(*tunnel.net.inside(
        "client", "iperf3", "-c", tunnel.address, "-p", IPERF_PORT, "-t", options.seconds, "-J"))
    cpu = tunnel.cpu_seconds() - before
    total = json.loads(text)["end"]["sum_received"]
    return {"tcp_gbit_per_s": total["bits_per_second"] / 1e9, "tcp_cpu_s_per_gb": cpu / (total["bytes"] / 1e9)}


def udp(tunnel, options):
    target = f"[{tunnel.address}]" if ":" in tunnel.address else tunnel.address
    receive = [options.load, "receive", "--target", f"{tunnel.any_address}:{UDP_PORT}", "--size", PAYLOAD]
    send = [options.load, "send", "--target", f"{target}:{UDP_PORT}", "--size", PAYLOAD,
            "--rate", options.udp_rate, "--seconds", options.seconds]
    receiver = subprocess.Popen([str(part) for part in tunnel.net.inside("server", *receive)], stdout=subprocess.PIPE, text=True)
    try:
        receiver.stdout.readline()  # it is ready
        before = tunnel.cpu_seconds()
        sent = json.loads(tunnel.net.run(*tunnel.net.inside("client", *send)))
        cpu = tunnel.cpu_seconds() - before
        came = json.loads(receiver.communicate(timeout=60)[0] or "{}")
    except (ValueError, subprocess.TimeoutExpired) as error:
        raise ProcessFailed(f"{tunnel.name}: the datagrams were not counted: {error}") from error
    finally:
        receiver.kill()
        receiver.wait()
    if not came:
        raise ProcessFailed(f"{tunnel.name}: no datagram came")
    return {"udp_packets_per_s": came["per_second"], "udp_offered_per_s": sent["per_second"],
            "udp_lost_percent": came["loss"] * 100, "udp_cpu_us_per_packet": cpu / came["received"] * 1e6}


def measure(options):
    figures = {}
    net = Net()
    with tempfile.TemporaryDirectory(prefix="natfwt-bench-") as folder:
        servers = Processes(Path(folder))
        try:
            net.make()
            congestion = net.run(*net.inside("client", "cat", "/proc/sys/net/ipv4/tcp_congestion_control")).strip()
            servers.start("iperf3", net.inside("server", "iperf3", "-s", "-p", IPERF_PORT))
            for _ in range(options.repetitions):
                # One at a time: they have the same routes.
                for kind in (Adapter, RelayedAdapter, OpenVPN):
                    tunnel = kind(net, folder, options.natfwt)
                    try:
                        for row in (tcp, udp):
                            for metric, value in row(tunnel, options).items():
                                figures.setdefault(tunnel.name, {}).setdefault(metric, []).append(value)
                                print(f"bench: {tunnel.name}: {metric} {value:.4g}", file=sys.stderr)
                    finally:
                        tunnel.stop()
        finally:
            servers.stop()
            net.remove()
    medians = {name: {metric: statistics.median(values) for metric, values in rows.items()} for name, rows in figures.items()}
    return medians, congestion


def main():
    parser = argparse.ArgumentParser(prog="deploy/bench adapter", description=__doc__.splitlines()[0])
    parser.add_argument("--natfwt", required=True, help="the program that is measured")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--udp-rate", type=int, default=200_000, help="datagrams a second that are offered")
    options = parser.parse_args()
    options.natfwt = str(Path(options.natfwt).resolve())
    missing = [tool for tool in ("ip", "iperf3", "openvpn", "openssl", "cc") if machine.find(tool) is None]
    if os.geteuid() != 0 or missing:
        print(f"bench: it takes root, and {', '.join(missing) or 'network namespaces'}", file=sys.stderr)
        return UNAVAILABLE
    try:
        options.load = machine.build_load_generator()
        medians, congestion = measure(options)
    except (ProcessFailed, machine.Unavailable) as error:
        print(f"bench: {error}", file=sys.stderr)
        return FAILED
    mine = medians["natfwt"]
    mine["tcp_times_openvpn"] = mine["tcp_gbit_per_s"] / medians["openvpn"]["tcp_gbit_per_s"]
    met = {name: mine[name] >= least for name, least in TARGETS.items()}
    print(json.dumps({"machine": {**machine.describe(), "congestion_control": congestion}, "medians": medians, "targets": TARGETS, "met": met}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
