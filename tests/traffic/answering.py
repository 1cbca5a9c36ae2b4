"""An application that answers whatever it is sent, on the ports that it is given; TLS by what is none."""

import asyncio
import sys

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    first = await reader.read(4096)
    writer.write(b"this was TLS" if first.startswith(b"\x16") else ANSWER if first else b"")
    await writer.drain()
    writer.close()


async def main() -> None:
    servers = [await asyncio.start_server(answer, "0.0.0.0", int(port)) for port in sys.argv[1:]]
    print("listening", flush=True)
    await asyncio.gather(*(each.serve_forever() for each in servers))


if __name__ == "__main__":
    asyncio.run(main())
