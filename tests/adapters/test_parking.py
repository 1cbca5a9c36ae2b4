"""Ports held for a program that is being started again, in a network namespace of the test's own."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.cluster import machine, run

# a server dies with its port parked; clients connect meanwhile; the next server answers all of them
SCRIPT = """
import socket
from weft.adapters.parking import Parking, kernel_migrates

PORT = 15001
assert kernel_migrates() == (MIGRATES)
parking = Parking([PORT])
clients = [socket.create_connection(("127.0.0.1", PORT), timeout=5) for _ in range(20)]
for number, client in enumerate(clients):
    client.sendall(f"hello {number}".encode())
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind(("0.0.0.0", PORT))
server.listen(64)
server.settimeout(5)
parking.close()
for _ in clients:
    connection, _ = server.accept()
    connection.sendall(connection.recv(100).upper())
    connection.close()
answers = [client.recv(100).decode() for client in clients]
assert answers == [f"HELLO {number}" for number in range(20)], answers
"""


# a program of two listeners is killed again and again, with its ports parked beside it all the while
BESIDE = """
import socket, subprocess, sys
from weft.adapters.parking import Parking

PORT = 15001
SERVER = '''
import socket, threading
def serve(listener):
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"served")
        connection.close()
for _ in range(2):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("0.0.0.0", 15001))
    listener.listen(64)
    threading.Thread(target=serve, args=(listener,)).start()
print("listening", flush=True)
'''

def server():
    started = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
    assert started.stdout.readline()
    return started

def connections(count):
    return [socket.create_connection(("127.0.0.1", PORT), timeout=5) for _ in range(count)]

def all_served(clients):
    assert {client.recv(9) for client in clients} == {b"served"}

running = server()
parking = Parking([PORT])
try:
    for _ in range(3):
        assert parking.is_beside_owners
        all_served(connections(100))
        running.kill()
        running.wait()
        assert not parking.is_beside_owners
        waiting = connections(20)
        running = server()
        waiting += connections(20)
        parking.close()
        parking = Parking([PORT])
        all_served(waiting)
finally:
    running.kill()
"""

# an owner that listens once more is numbered after us, and so some of its connections come to us
LATER = """
import asyncio, socket
from weft.adapters.parking import Parking

def owner():
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("0.0.0.0", 15001))
    made.listen(64)
    return made

async def main():
    first = owner()
    parking = Parking([15001])
    first.close()
    later = owner()
    async with asyncio.timeout(5):
        taken = asyncio.ensure_future(parking.taken())
        while not taken.done():
            socket.create_connection(("127.0.0.1", 15001), timeout=5)
            await asyncio.sleep(0)
    assert parking.is_beside_owners
    later.settimeout(0)
    parking.close()
    later.accept()

asyncio.run(main())
"""


def in_namespace(namespace: str, script: str) -> subprocess.CompletedProcess[str]:
    return run("nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-c", textwrap.dedent(script))


@contextmanager
def migrating() -> Iterator[str]:
    """A network namespace whose kernel moves waiting connections."""
    with machine("parking") as namespace:
        setting = ("sysctl", "-w", "net.ipv4.tcp_migrate_req=1")
        assert run("nsenter", f"--net=/run/netns/{namespace}", *setting).returncode == 0
        yield namespace


def test_connections_that_wait_at_a_parked_port_are_served_by_the_next_owner() -> None:
    with migrating() as namespace:
        done = in_namespace(namespace, SCRIPT.replace("MIGRATES", "True"))
    assert done.returncode == 0, done.stderr


def test_a_port_is_held_beside_its_living_owner_and_not_one_connection_is_refused_when_it_dies() -> None:
    with migrating() as namespace:
        done = in_namespace(namespace, BESIDE)
    assert done.returncode == 0, done.stderr


def test_a_connection_that_came_to_us_beside_a_living_owner_is_noticed_and_handed_over() -> None:
    with migrating() as namespace:
        done = in_namespace(namespace, LATER)
    assert done.returncode == 0, done.stderr


def test_without_the_kernels_setting_nothing_would_be_moved_and_it_says_so() -> None:
    with machine("parking") as namespace:
        done = in_namespace(
            namespace, "from weft.adapters.parking import kernel_migrates; assert not kernel_migrates()"
        )
    assert done.returncode == 0, done.stderr


def test_a_port_that_somebody_else_holds_alone_is_left_to_them() -> None:
    script = """
    import socket
    from weft.adapters.parking import Parking
    owner = socket.socket()
    owner.bind(("0.0.0.0", 15001))
    owner.listen()
    Parking([15001]).close()
    socket.create_connection(("127.0.0.1", 15001), timeout=5)
    owner.accept()
    """
    with machine("parking") as namespace:
        done = in_namespace(namespace, script)
    assert done.returncode == 0, done.stderr
    assert "port 15001 cannot be held" in done.stderr
