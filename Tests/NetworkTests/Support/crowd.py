# SPDX-License-Identifier: Apache-2.0
"""Many visitors at once.

    crowd.py visit ADDRESS PORT COUNT AT-ONCE SIZE    COUNT connections, AT-ONCE at a time: SIZE bytes there and back
    crowd.py hold ADDRESS PORT COUNT                  opens COUNT connections, prints `held N refused M`, keeps them
                                                      until it is told to end (SIGTERM)
"""
import asyncio
import collections
import json
import os
import resource
import signal
import sys

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def once(address, port, data):
    reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 15)
    try:
        writer.write(data)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(-1), 15)
        return "ok" if answer == data else f"{len(answer)} of {len(data)} bytes"
    finally:
        writer.close()


async def visit(address, port, count, at_once, size):
    results = collections.Counter()
    left = iter(range(count))

    async def worker():
        for _ in left:
            try:
                results[await once(address, port, os.urandom(size))] += 1
            except (OSError, asyncio.TimeoutError) as error:
                results[type(error).__name__] += 1

    await asyncio.gather(*(worker() for _ in range(at_once)))
    print(json.dumps({"ok": results.pop("ok", 0), "failed": sum(results.values()), "how": dict(results)}), flush=True)


async def hold(address, port, count):
    held, refused = [], 0
    for _ in range(count):
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 3)
            writer.write(b"x")
            held.append((reader, writer))
        except (OSError, asyncio.TimeoutError):
            refused += 1
    print(f"held {len(held)} refused {refused}", flush=True)
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()


mode, address, *numbers = sys.argv[1:]
asyncio.run({"visit": visit, "hold": hold}[mode](address, *map(int, numbers)))
