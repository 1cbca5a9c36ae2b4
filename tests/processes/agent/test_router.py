"""The agent of a gateway, with the real Envoy: certificates from files of the pod, and how it ends."""

import asyncio
import contextlib
import json
import signal
import ssl

import pytest
from tests.processes.agent.conftest import Pod
from tests.processes.agent.istiod import Istiod, eventually
from tests.support.envoy import Identity
from tests.support.identities import Authority

CA = Authority("clients")


def mount(pod: Pod, pair: Identity) -> None:
    """Put a Secret's files in place at once, as the kubelet does."""
    new = pod.home / f"certs-{len(list(pod.home.glob('certs-*')))}"
    new.mkdir()
    for name, text in (("tls.crt", pair.chain), ("tls.key", pair.key), ("ca.crt", pair.roots)):
        (new / name).write_text(text)
    link = pod.home / "new"
    link.symlink_to(new)
    link.replace(pod.home / "certs")


class Connection:
    """One that stays open."""

    def __init__(self, pod: Pod) -> None:
        self._pod, self.client = pod, CA.serve("client.example")
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> str:
        """The certificate that the gateway shows, PEM; "" where there is no connection."""
        await self.close()
        folder = self._pod.home / "client"
        folder.mkdir(exist_ok=True)
        (folder / "pair.pem").write_text(self.client.chain + self.client.key)
        context = ssl.create_default_context(cadata=CA.roots)
        context.load_cert_chain(folder / "pair.pem")
        try:
            self.reader, self.writer = await asyncio.open_connection(
                "127.0.0.1", self._pod.listener, ssl=context, server_hostname="edge.example"
            )
        except OSError:
            return ""
        der = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return ssl.DER_cert_to_PEM_cert(der)

    async def ask(self) -> tuple[str, bool]:
        """The body of an answer, and whether the gateway asks us to go."""
        assert self.writer is not None
        self.writer.write(b"GET / HTTP/1.1\r\nhost: edge.example\r\n\r\n")
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            (length,) = (int(line.split()[1]) for line in head.splitlines() if line.startswith("content-length"))
            return (await self.reader.readexactly(length)).decode(), "connection: close" in head

    async def close(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()
            self.writer = None


@pytest.fixture
async def gateway(pod: Pod, istiod: Istiod) -> Pod:
    """One that shows and verifies with files of the pod; to Envoy its listener leads outwards, as Istio's do."""
    certs = pod.home / "certs"
    istiod.own = f"file-cert:{certs}/tls.crt~{certs}/tls.key"
    istiod.trusted = f"file-root:{certs}/ca.crt"
    istiod.direction = "OUTBOUND"
    mount(pod, CA.serve("edge.example"))
    pod.environment["ROLE"] = "router"
    pod.start(istiod.address)
    await eventually(pod.ready)
    return pod


def same(shown: str, pair: Identity) -> bool:
    return shown.split() == pair.chain.split()


async def test_a_router_introduces_itself_and_shows_certificates_from_files(gateway: Pod, istiod: Istiod) -> None:
    bootstrap = json.loads((gateway.home / "proxy" / "envoy-rev.json").read_text())
    assert bootstrap["node"]["id"].startswith("router~127.0.0.1~nginx-1.sidecar~")
    connection = Connection(gateway)
    assert await eventually(connection.open)
    assert await connection.ask() == ("hello", False)
    await connection.close()
    assert istiod.nacks == []


async def test_files_that_change_are_shown_to_new_connections_and_old_ones_stay(gateway: Pod) -> None:
    before, after, second = Connection(gateway), Connection(gateway), CA.serve("edge.example")
    await eventually(before.open)
    mount(gateway, second)

    async def turned_over() -> bool:
        return same(await after.open(), second)

    await eventually(turned_over)
    assert await before.ask() == await after.ask() == ("hello", False)
    await before.close()
    await after.close()


async def test_an_ending_gateway_asks_its_clients_to_go_and_serves_them_meanwhile(gateway: Pod) -> None:
    connection = Connection(gateway)
    await eventually(connection.open)
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    assert (await gateway.get("status", "/healthz/ready")).status == 503
    assert await connection.ask() == ("hello", True)
    late = Connection(gateway)
    assert await late.open()
    await connection.close()
    await late.close()
    assert await gateway.exit_code() == 0
