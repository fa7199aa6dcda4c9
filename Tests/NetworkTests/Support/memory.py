# SPDX-License-Identifier: Apache-2.0
"""memory.py PID TEXT: how often a text stands in the memory of a process. Wants root."""
import re
import sys


def occurrences(pid, text):
    count = 0
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r.* (\S*)", line)
            if not match or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = int(match[1], 16), int(match[2], 16)
            try:
                memory.seek(start)
                count += memory.read(end - start).count(text)
            except (OSError, OverflowError, ValueError):
                continue
    return count


if __name__ == "__main__":
    print(occurrences(int(sys.argv[1]), sys.argv[2].encode()))
