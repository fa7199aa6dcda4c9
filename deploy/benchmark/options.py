# SPDX-License-Identifier: Apache-2.0
"""The command line: what may be asked for, and errors that say what would be right."""

import argparse
import difflib
from dataclasses import dataclass
from pathlib import Path

USAGE_ERROR = 64

# The ways to a port that is exposed, and those from one node to another.
EXPOSING = ["raw", "socat", "haproxy", "stunnel", "ssh", "natfwt"]
BETWEEN_NODES = ["ssh-L", "forward", "forward-direct", "ssh-D", "socks", "socks-direct", "proxychains", "proxychains-socks",
                 "redsocks", "run", "run-kernel"]
# Those that want our program.
NATFWT = {"natfwt", "forward", "forward-direct", "socks", "socks-direct", "proxychains-socks", "run", "run-kernel"}
PRODUCTS = EXPOSING + BETWEEN_NODES
PRODUCT_GROUPS = {"all": EXPOSING, "nodes": BETWEEN_NODES}

ROWS = ["memory", "down1", "down8", "up1", "up8", "connections", "requests", "ping64", "ping1024", "udp64", "udp1200",
        "connect", "process", "interposer"]

GROUPS = {
    "all": ROWS,
    "bulk": ["down1", "down8", "up1", "up8"],
    "ping": ["ping64", "ping1024"],
    "udp": ["udp64", "udp1200"],
    "redirection": ["connect", "process", "interposer"],
}

EPILOG = """\
products: raw (no relay), socat and haproxy (one plain TCP hop), stunnel (two hops with TLS between), ssh (ssh -R), natfwt;
          and between two nodes (together: nodes): ssh-L (ssh -L, one hop), forward (natfwt forward, through the relay),
          forward-direct (the same without it), ssh-D, socks and socks-direct (the same as SOCKS servers), proxychains
          (over ssh -D), proxychains-socks (over natfwt socks), redsocks (over ssh -D), run and run-kernel (natfwt run, by its library and by the kernel)
rows:     memory, down1, down8, up1, up8 (together: bulk), connections, requests, ping64, ping1024 (together: ping),
          udp64, udp1200 (together: udp), all; and what run costs the program itself: connect, process, interposer
          (together: redirection)

Run as root, everything happens in a network namespace of its own without a pacing congestion control.
Exit status: 0 everything was measured (a missed target does not change it), 1 something could not be measured,
64 a wrong option, 69 something is missing and cannot be installed."""


@dataclass
class Options:
    """What one run measures."""

    products: list[str]
    rows: list[str]
    seconds: float
    repetitions: int
    quick: bool
    binary: Path | None
    json: Path | None
    tsv: Path | None
    undisturbed: bool
    congestion: str | None
    host_network: bool
    is_own_namespace: bool = False  # set once it is entered


class Parser(argparse.ArgumentParser):
    """argparse with our exit status."""

    def error(self, message):
        self.exit(USAGE_ERROR, f"bench: {message}\n       \"deploy/bench --help\" tells the options\n")


def chosen(known, groups, what):
    """A reader for a list such as "a,b,c" that answers in the order of `known`, each once."""

    def read(text):
        names = []
        for name in text.split(","):
            name = name.strip()
            if name not in known and name not in groups:
                raise argparse.ArgumentTypeError(unknown(name, what, [*known, *groups]))
            names += groups.get(name, [name])
        return [name for name in known if name in names]

    return read


def unknown(name, what, known):
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean \"{near[0]}\"?" if near else ""
    return f"there is no {what} \"{name}\"{hint} There are: {', '.join(known)}"


def number(least, most, kind, expected):
    """A reader for a number in a range."""

    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {expected} from {least} to {most}, found \"{text}\"")
        return value

    return read


def writable_file(text):
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a folder that exists, found \"{text}\"")
    return path


def program(text):
    path = Path(text)
    if not path.is_file() or not path.stat().st_mode & 0o111:
        raise argparse.ArgumentTypeError(f"expected a natfwt program, found \"{text}\", which is not an executable file")
    return path.resolve()


def parse(arguments):
    """The options of `arguments`; ends the program with USAGE_ERROR where they are wrong."""
    parser = Parser(prog="deploy/bench", epilog=EPILOG, allow_abbrev=False,
                    description="Measures natfwt beside what Debian offers for the same end.",
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=chosen(PRODUCTS, PRODUCT_GROUPS, "product"), default=EXPOSING,
                        metavar="A,B,...", help="what to measure (default: all, which leaves out nodes)")
    parser.add_argument("--rows", type=chosen(ROWS, GROUPS, "row"), default=ROWS, metavar="X,Y,...",
                        help="which rows (default: all)")
    parser.add_argument("--seconds", type=number(0.2, 600, float, "seconds"), metavar="N",
                        help="length of one measurement (default 3; with --quick 1)")
    parser.add_argument("--repetitions", type=number(1, 100, int, "a whole number"), metavar="N",
                        help="measurements a row and product, of which the median counts (default 3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="shorter, once, and idle connections only up to 1,000")
    parser.add_argument("--undisturbed", action="store_true",
                        help="repeat a measurement while others use the machine, up to four times, and keep the calmest")
    parser.add_argument("--binary", type=program, metavar="PATH",
                        help="the natfwt program to measure (default: a release is built with deploy/build)")
    parser.add_argument("--json", type=writable_file, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--tsv", type=writable_file, metavar="FILE", help="write the medians, a line each")
    parser.add_argument("--congestion", metavar="NAME",
                        help="TCP congestion control of every socket (default cubic, as Debian has it, or else reno)")
    parser.add_argument("--host-network", action="store_true",
                        help="use the machine's own loopback and settings, not a namespace")
    given = parser.parse_args(arguments)
    return Options(products=given.products, rows=given.rows, seconds=given.seconds or (1 if given.quick else 3),
                   repetitions=given.repetitions or (1 if given.quick else 3), quick=given.quick, binary=given.binary,
                   json=given.json, tsv=given.tsv, undisturbed=given.undisturbed,
                   congestion=given.congestion, host_network=given.host_network)
