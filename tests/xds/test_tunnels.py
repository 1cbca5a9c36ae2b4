"""Connections that the real Envoy leads through a proxy of the old kind, which is asked to go on."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cases.engine import HERE, load
from tests.cases.in_envoy import place
from tests.support import envoy

from weft.adapters import netns
from weft.xds import encode, simulate
from weft.xds.generate import Generator
from weft.xds.proto import endpoint_pb2
from weft.xds.resource import ENDPOINT, Resources

CASE = HERE / "traffic" / "tunnels.yaml"
PROXY = ("127.64.1.1", 3128)


@contextmanager
def proxy(namespace: str) -> Iterator[list[str]]:
    """A proxy that says yes to everybody and then echoes; it lists what it was asked."""
    asked: list[str] = []
    listener = netns.inside(namespace, lambda: socket.create_server(PROXY))

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(10)
            head = b""
            while b"\r\n\r\n" not in head and (more := connection.recv(4096)):
                head += more
            request, _, rest = head.partition(b"\r\n\r\n")
            asked.append(" ".join(request.decode().split("\r\n")[0].split()[:2]))
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + rest)
            while more := connection.recv(4096):
                connection.sendall(more)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def led(resources: Resources) -> Resources:
    """The resources with the proxy behind every cluster."""
    where = {"socket_address": {"address": PROXY[0], "port_value": PROXY[1]}}
    found = {
        name: encode.resource(
            ENDPOINT,
            name,
            endpoint_pb2.ClusterLoadAssignment(
                cluster_name=name, endpoints=[{"lb_endpoints": [{"endpoint": {"address": where}}]}]
            ),
        )
        for name in resources[ENDPOINT]
    }
    return {**resources, ENDPOINT: found}


def spoken(namespace: str, address: str, port: int, said: bytes) -> bytes:
    """What comes back of something said."""

    def speak() -> bytes:
        with socket.create_connection((address, port), timeout=10) as connection:
            connection.sendall(said)
            return connection.recv(100)

    return netns.inside(namespace, speak)


def test_connections_go_through_a_proxy_that_is_asked_to_connect() -> None:
    resources = Generator().resources(load(CASE).view)
    with place() as here, proxy(here.namespace) as asked:
        with envoy.started(led(resources), here.identity, namespace=here.namespace) as (_, management):
            assert management.rejected == []
            assert spoken(here.namespace, "10.96.1.1", 3128, b"hello") == b"hello"
        assert asked == ["CONNECT far.example:8080"]


def test_the_simulator_tells_of_the_tunnels_of_hosts_and_subsets() -> None:
    resources = Generator().resources(load(CASE).view)
    found = {
        (address, port): simulate.simulate(simulate.Request(address, port, http=False), resources)
        for address, port in (("10.96.1.1", 3128), ("10.96.1.2", 90))
    }
    assert found["10.96.1.1", 3128].tunnel == "CONNECT far.example:8080"
    assert found["10.96.1.2", 90].tunnel == "POST www.example.com:443"
