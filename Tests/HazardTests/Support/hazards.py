# SPDX-License-Identifier: Apache-2.0
"""Runs one scenario against the real programs, and says whether what has to hold held.

    hazards.py SCENARIO BINARY      or: hazards.py --list

Exit code 0: it held; 1: it did not, and standard error tells what and the ends of the logs; 77: this machine can't do it,
and standard error tells why.
"""
import signal
import sys
import time
import traceback

import access
import admission
import crowds
import forged
import hostile
import misuse
import neighbours
import processes
import redirected
import redirected_kernel
import resolver
import shortages
import strangers
import thrift
import visitors
import wire
from place import Place, Skipped

SCENARIOS = {
    f"{module.__name__}.{name}": function
    for module in (
        access, admission, crowds, forged, hostile, misuse, neighbours, processes, redirected, redirected_kernel, resolver,
        shortages, strangers, thrift, visitors, wire)
    for name, function in vars(module).items()
    if getattr(function, "is_scenario", False)
}


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(SCENARIOS))
        return 0
    name, binary = arguments
    # Whoever loses patience says so with SIGTERM: then too nothing stays.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    begin = time.monotonic()
    try:
        with Place(binary) as place:
            SCENARIOS[name](place)
    except Skipped as reason:
        print(f"{name} skipped: {reason}", file=sys.stderr)
        return 77
    except Exception:
        traceback.print_exc()
        return 1
    print(f"{name} held, {time.monotonic() - begin:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
