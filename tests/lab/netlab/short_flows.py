"""Short connections, one after the other: `serve ADDRESS PORT` takes them, `send ...` makes them.

    send ADDRESS PORT FROM FLOWS BYTES PAUSE_S SECONDS [SEED]

In FLOWS places at once: connect, send BYTES, wait until the other side has closed, pause (exponential, PAUSE_S on
average), again; for SECONDS.
"""

from __future__ import annotations

import asyncio
import random
import sys


async def serve(address: str, port: int) -> None:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1 << 16):
                pass
        except OSError:
            pass
        writer.close()

    server = await asyncio.start_server(take, address, port, backlog=512)
    async with server:
        await server.serve_forever()


async def one_place(to: tuple[str, int], near: str, size: int, pause: float, until: float, draw: random.Random) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(draw.random())
    while loop.time() < until:
        try:
            reader, writer = await asyncio.open_connection(*to, local_addr=(near, 0))
            writer.write(bytes(size))
            writer.write_eof()
            await reader.read()
            writer.close()
        except OSError:
            pass  # a connection that the path did not let through; the next one gets its own chance
        await asyncio.sleep(draw.expovariate(1 / pause) if pause > 0 else 0)


async def send(address: str, port: int, near: str, flows: int, size: int, pause: float, seconds: float,
               seed: int = 1) -> None:
    until = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(one_place((address, port), near, size, pause, until, random.Random(seed * 1000 + i))
                           for i in range(flows)))


def main(arguments: list[str]) -> None:
    if arguments[0] == "serve":
        asyncio.run(serve(arguments[1], int(arguments[2])))
        return
    address, port, near, flows, size, pause, seconds, *seed = arguments[1:]
    asyncio.run(send(address, int(port), near, int(flows), int(size), float(pause), float(seconds),
                     *map(int, seed)))


if __name__ == "__main__":
    main(sys.argv[1:])
