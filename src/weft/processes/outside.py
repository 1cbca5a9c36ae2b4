"""`weft outside`: the web server of a host outside of the cluster, which says who its clients are.

It is there to be reached from pods with addresses of the underlay, and shows whether these stay what they are.
"""

import argparse
import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

_PORT = 80
_HEAD_SECONDS = 10.0
_LONGEST = 16 * 1024


def main(argv: Sequence[str]) -> int:
    """Answer on port 80 until SIGTERM."""
    parser = argparse.ArgumentParser(prog="weft outside", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the cluster's home folder")
    parser.parse_args(argv)
    asyncio.run(_serve())
    return 0


async def _serve() -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with await asyncio.start_server(_answer, ["0.0.0.0", "::"], _PORT, limit=_LONGEST):
        await stop.wait()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    client = writer.get_extra_info("peername")[0]
    page = f"A host outside of the cluster. You are {client}.\n".encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(page)}\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(_HEAD_SECONDS):
            asked = await reader.readuntil(b"\r\n\r\n")
            writer.write(head.encode() + (b"" if asked.startswith(b"HEAD ") else page))
            await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return
    finally:
        writer.close()
