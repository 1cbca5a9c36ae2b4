"""Ports for servers of tests."""

import random
import socket


def free_port() -> int:
    """A port of 127.0.0.1 that is free for TCP and UDP.

    Not one that the kernel gives to clients: those are taken at any moment, and who asks for such a port before
    its server listens may even be connected to itself.
    """
    for port in random.sample(range(20000, 30000), 50):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
