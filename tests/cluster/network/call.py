"""A client for tests: prints what the server says, or the error's name.

Arguments: tcp|udp, IP, port, count, keep|new.
"""

import socket
import sys
import time


def ask(connection: socket.socket) -> str:
    connection.sendall(b"hello\n")
    return connection.recv(200).decode().strip()


def connect() -> socket.socket:
    kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
    made = socket.socket(socket.AF_INET, kind)
    made.settimeout(2)
    made.connect((sys.argv[2], int(sys.argv[3])))
    return made


kept = connect() if sys.argv[5] == "keep" else None
for _ in range(int(sys.argv[4])):
    started = time.monotonic()
    try:
        print(ask(kept or connect()), flush=True)
    except OSError as error:
        print(type(error).__name__, f"{time.monotonic() - started:.1f}", flush=True)
    if kept:
        time.sleep(0.01)
