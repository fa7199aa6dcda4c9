# SPDX-License-Identifier: Apache-2.0
"""The products that lead from one node to another's service: forwards, SOCKS servers, and what redirects programs into one."""

import json
import shutil
import subprocess
from pathlib import Path

from machine import REPOSITORY, find
from place import LOOPBACK, address
from processes import ProcessFailed
from products import SSH, Natfwt, Product, is_listening


# An address that is not loopback's: nodes name no others to each other.
PLACE_OF_NODES = "198.18.5.6"


class SSHLocal(SSH):
    """ssh -L: the visitor's side dials in, the server connects; one connection for all."""

    name = "ssh-L"

    def forwards(self):
        return ["-L", f"{address(self.tcp_port)}:{self.to}"]


class ThroughLoad(Product):
    """A product that carries the load generator, and nothing else: it is ready once that gets an answer."""

    def is_ready(self):
        if not is_listening(self.tcp_port):
            return False
        command = [*self.load_prefix, self.place.load, "requests", *self.target(), "--connections", 1, "--seconds", 0.02]
        return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=15).returncode == 0


class SSHDynamic(ThroughLoad, SSH):
    """ssh -D: a SOCKS server on the visitor's side."""

    name = "ssh-D"

    def forwards(self):
        return ["-D", address(self.tcp_port)]

    def target(self):
        return ["--target", address(self.tcp_port), "--socks-to", f"localhost:{self.place.backend_port}"]


class NatfwtForward(ThroughLoad, Natfwt):
    """Two of our agents and our relay between them: natfwt forward on one leads to what the other serves, over a connection
    that the relay has joined for the two, sealed from agent to agent."""

    name = "forward"
    carries_udp = False
    serves = ["tcp"]
    is_direct = False

    def is_ready(self):
        """The first connection makes the tunnel; what is measured is the way that it comes to."""
        return super().is_ready() and self.listed("path") == ("direct" if self.is_direct else "joined")

    def start(self):
        if self.is_direct and self.place.is_own_namespace:
            self.run(["ip", "address", "replace", f"{PLACE_OF_NODES}/32", "dev", "lo"])
        self.start_relay()
        self.start_agent("server")
        self.start_agent("client")

    def tables(self, name):
        direct = f"\n[direct]\nenabled = {str(self.is_direct).lower()}\n"
        if name == "client":
            return direct + self.client_tables()
        return direct + "".join(
            f"\n[[serve]]\nprotocol = \"{protocol}\"\nports = [{self.place.backend_port}]\nto = [\"client\"]\n"
            for protocol in self.serves)

    def client_tables(self):
        return f"\n[[forward]]\nlisten = \"{address(self.tcp_port)}\"\nto = \"server:{self.place.backend_port}\"\n"


    def listed(self, field="transport-id"):
        """The server's transport ID, once the client knows it, or another field."""
        command = [self.place.natfwt, "nodes", "--json", "--socket", self.processes.folder / "client" / "agent.sock"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=15)
        nodes = json.loads(done.stdout) if done.returncode == 0 else []
        return next((node.get(field) for node in nodes if node["name"] == "server"), None)


class DirectForward(NatfwtForward):
    """The same without the relay in the way, once the two have found each other: as ssh -L, which has no other way."""

    name = "forward-direct"
    is_direct = True


class NatfwtSOCKS(NatfwtForward):
    """The same, with natfwt socks on one of them."""

    name = "socks"

    def client_tables(self):
        return f"\n[socks]\nlisten = \"{address(self.tcp_port)}\"\n"

    def target(self):
        return ["--target", address(self.tcp_port), "--socks-to", f"server:{self.place.backend_port}"]


class DirectSOCKS(NatfwtSOCKS):
    """The same without the relay in the way."""

    name = "socks-direct"
    is_direct = True


class NatfwtRun(NatfwtForward):
    """natfwt run, by its library: the load generator's own sockets are led to the other node. A forward beside it leads to the same place, so that
    rows can tell what the redirection itself costs."""

    name = "run"
    carries_udp = True
    serves = ["tcp", "udp"]
    way = "preload"
    library = "interposer"  # what builds it, in deploy

    def start(self):
        self.node = None
        # In a folder of its own it finds the library that fits it.
        self.program = self.processes.folder / "natfwt"
        shutil.copy(self.place.natfwt, self.program)
        self.run([REPOSITORY / "deploy" / self.library, self.processes.folder])
        super().start()
        self.load_prefix = [self.program, "run", "--way", self.way, "--socket",
                            self.processes.folder / "client" / "agent.sock", "--"]

    def is_ready(self):
        self.node = self.node or self.listed()
        return self.node is not None and super().is_ready()

    def client_tables(self):
        # Redirected sockets go over the same family.
        same_hop = f"\n[[forward]]\nlisten = \"[::1]:{self.tcp_port}\"\nto = \"server:{self.place.backend_port}\"\n"
        return super().client_tables() + same_hop

    def target(self):
        return ["--target", f"[{self.node}]:{self.place.backend_port}"]

    udp_target = target

    def bare_target(self):
        """The way to the same service with nothing redirected."""
        return ["--target", f"[::1]:{self.tcp_port}"]


class NatfwtRunKernel(NatfwtRun):
    """The same by BPF programs on a control group."""

    name = "run-kernel"
    way = "kernel"
    library = "kernel-way"


class Proxychains(SSHDynamic):
    """proxychains4, a library as that of natfwt run, in front of ssh -D."""

    name = "proxychains"

    def start(self):
        super().start()
        chain = self.write("proxychains.conf", f"strict_chain\nquiet_mode\ntcp_read_time_out 15000\ntcp_connect_time_out 15000\n"
                                               f"[ProxyList]\nsocks5 {LOOPBACK} {self.tcp_port}\n")
        self.load_prefix = [find("proxychains4"), "-q", "-f", chain]

    def target(self):
        return ["--target", self.to]


class ProxychainsNatfwt(NatfwtSOCKS):
    """proxychains4 in front of natfwt socks."""

    name = "proxychains-socks"

    def start(self):
        super().start()
        # The backend is asked for its totals directly: what is not a node's does not go through this proxy.
        chain = self.write("proxychains.conf", f"strict_chain\nquiet_mode\nproxy_dns\nremote_dns_subnet 224\n"
                                               f"localnet 127.0.0.0/255.0.0.0\n"
                                               f"[ProxyList]\nsocks5 {LOOPBACK} {self.tcp_port}\n")
        self.load_prefix = [find("proxychains4"), "-q", "-f", chain]
        self.processes.wait_until(self.listed, "the server is not listed")
        self.node = self.listed()

    def target(self):
        return ["--target", f"[{self.node}]:{self.place.backend_port}"]


class Redsocks(SSHDynamic):
    """redsocks, to which nftables redirects the load generator's connections, in front of ssh -D."""

    name = "redsocks"
    table = "natfwt-bench"
    group = 4242  # by which the kernel knows the load generator's sockets
    place_of_backend = "198.18.5.5"

    def start(self):
        if not self.place.is_own_namespace:
            raise ProcessFailed("redsocks: the redirection wants a network namespace of its own")
        super().start()
        self.redirector = self.place.free_port()
        configuration = self.write("redsocks.conf", f"""\
base {{ log_debug = off; log_info = off; log = "stderr"; daemon = off; redirector = iptables; }}
redsocks {{ local_ip = {LOOPBACK}; local_port = {self.redirector}; listenq = 1024; ip = {LOOPBACK}; port = {self.tcp_port};
            type = socks5; }}
""")
        self.processes.start("redsocks", [find("redsocks"), "-c", configuration])
        port = self.place.backend_port
        rules = self.write("redirect.nft", f"""\
table ip {self.table} {{
  chain output {{ type nat hook output priority -100; policy accept;
    meta skgid {self.group} ip daddr {self.place_of_backend} tcp dport {port} redirect to :{self.redirector}
    ip daddr {self.place_of_backend} tcp dport {port} dnat to {LOOPBACK}:{port}
  }}
}}
""")
        self.run(["ip", "address", "replace", f"{self.place_of_backend}/32", "dev", "lo"])
        self.run([find("nft"), "-f", rules])
        self.load_prefix = [find("setpriv"), "--regid", self.group, "--clear-groups"]

    def target(self):
        return ["--target", f"{self.place_of_backend}:{self.place.backend_port}"]

    def stop(self):
        super().stop()
        subprocess.run([find("nft"), "delete", "table", "ip", self.table], capture_output=True)


KINDS = [SSHLocal, NatfwtForward, DirectForward, SSHDynamic, NatfwtSOCKS, DirectSOCKS, Proxychains, ProxychainsNatfwt, Redsocks, NatfwtRun,
         NatfwtRunKernel]
