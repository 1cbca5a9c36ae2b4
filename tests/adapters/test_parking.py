"""Ports held for a program that is being started again, in a network namespace of the test's own."""

import subprocess
import sys
import textwrap

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


def in_namespace(namespace: str, script: str) -> subprocess.CompletedProcess[str]:
    return run("nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-c", textwrap.dedent(script))


def test_connections_that_wait_at_a_parked_port_are_served_by_the_next_owner() -> None:
    with machine("parking") as namespace:
        assert (
            run(
                "nsenter", f"--net=/run/netns/{namespace}", "sysctl", "-w", "net.ipv4.tcp_migrate_req=1"
            ).returncode
            == 0
        )
        done = in_namespace(namespace, SCRIPT.replace("MIGRATES", "True"))
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
