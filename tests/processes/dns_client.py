"""Asks one resolver from one port, by UDP or TCP, and prints what it hears: `udp|tcp RESOLVER PORT NAME`."""

import os
import socket
import sys

from weft.adapters.dns import messages


def main() -> None:
    transport, resolver, port, name = sys.argv[1:]
    question = messages.ask(name, "A")
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        asking.bind(("", int(port)))
        asking.settimeout(5)
        asking.connect((resolver, 53))
        asking.send(question if transport == "udp" else len(question).to_bytes(2, "big") + question)
        reply = asking.recv(4096)
    code, answers = messages.outcome(reply if transport == "udp" else reply[2:])
    sys.stdout.write(f"{code} {' '.join(answers)}\n")


if __name__ == "__main__":
    if user := os.environ.get("RUN_AS"):
        # once all is imported: the folder that the tests run in may be root's alone
        os.setgid(int(user))
        os.setuid(int(user))
    main()
