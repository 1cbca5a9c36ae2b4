"""The kubelet's server: logs and streams of real containers."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.cluster.kubelet.support import Node, pod

from weft.cluster.kubelet import server
from weft.cluster.kubelet.meter import Meter

COUNTING = "i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo line $i; done; sleep 0.5; echo late; sleep 100"


@pytest.fixture
async def url(node: Node) -> AsyncIterator[str]:
    async with server.serve(node.station, node.pods, Meter(node.station, node.pods), "127.0.0.1", 0, None) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
        yield session


async def test_logs_are_cut_as_asked_and_followed_to_the_end(
    node: Node, url: str, client: aiohttp.ClientSession
) -> None:
    node.pods.apply(pod("log", {"name": "main", "image": "busybox", "command": ["sh", "-c", COUNTING]}))
    await node.ready("log")
    base = f"{url}/containerLogs/default/log/main"
    await asyncio.sleep(0.2)

    async def text(query: str) -> str:
        async with client.get(f"{base}?{query}") as answer:
            assert answer.status == 200
            return await answer.text()

    assert (await text("tailLines=2")).splitlines()[:2] == ["line 4", "line 5"]
    assert await text("limitBytes=8") == "line 1\nl"
    assert "Z line 1\n" in await text("timestamps=true")
    assert await text("sinceSeconds=100&tailLines=0") == ""
    async with client.get(f"{base}?follow=true&tailLines=1") as answer:
        assert await answer.content.readline() == b"line 5\n"
        assert await answer.content.readline() == b"late\n"
        node.pods.delete(node.pods.find("default", "log").pod)  # type: ignore[union-attr]  # it is there
        assert await answer.content.readline() == b""


async def test_the_log_of_the_run_before_is_kept(node: Node, url: str, client: aiohttp.ClientSession) -> None:
    command = ["sh", "-c", "echo run; test -e /f/x && sleep 100; touch /f/x; exit 1"]
    mounts = [{"name": "f", "mountPath": "/f"}]
    container = {"name": "main", "image": "busybox", "command": command, "volumeMounts": mounts}
    node.pods.apply(pod("again", container, volumes=[{"name": "f", "emptyDir": {}}]))
    await node.until("again", lambda status: status["containerStatuses"][0]["restartCount"] == 1 if status else 0)
    await node.ready("again")
    async with client.get(f"{url}/containerLogs/default/again/main?previous=true") as answer:
        assert await answer.text() == "run\n"


async def test_what_is_not_there_is_refused_in_words(node: Node, url: str, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{url}/containerLogs/default/nobody/main") as answer:
        assert (answer.status, await answer.text()) == (404, 'pod "default/nobody" is not on this node')
    async with client.get(f"{url}/healthz") as answer:
        assert await answer.text() == "ok"


async def test_a_command_gets_its_input_and_gives_output_and_exit_code(
    node: Node, url: str, client: aiohttp.ClientSession
) -> None:
    node.pods.apply(pod("exec", {"name": "main", "image": "busybox", "command": ["sleep", "100"]}))
    await node.ready("exec")
    query = "command=sh&command=-c&command=read%20x;echo%20got%20$x;echo%20bad%20>%262;exit%203"
    got: dict[int, bytes] = {}
    async with client.ws_connect(
        f"{url}/exec/default/exec/main?{query}&stdin=true&stdout=true&stderr=true",
        protocols=("v4.channel.k8s.io",),
    ) as socket:
        await socket.send_bytes(b"\x00hello\n")
        async for message in socket:
            got[message.data[0]] = got.get(message.data[0], b"") + message.data[1:]
    assert got[1] == b"got hello\n"
    assert got[2] == b"bad\n"
    assert b'"ExitCode","message":"3"' in got[3]


async def test_a_large_stream_passes_whole(node: Node, url: str, client: aiohttp.ClientSession) -> None:
    node.pods.apply(pod("big", {"name": "main", "image": "busybox", "command": ["sleep", "100"]}))
    await node.ready("big")
    query = "command=head&command=-c&command=3000000&command=/dev/zero&stdout=true"
    total = 0
    async with client.ws_connect(
        f"{url}/exec/default/big/main?{query}", protocols=("v4.channel.k8s.io",)
    ) as socket:
        async for message in socket:
            total += len(message.data) - 1 if message.data[0] == 1 else 0
    assert total == 3_000_000


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A CA, and in the same folder a certificate of it for 127.0.0.1, good for both ends."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "node", "other")}
    now = datetime.now(UTC)
    for name, signer in (("ca", "ca"), ("node", "ca"), ("other", "other")):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, signer)])
        certificate = (
            x509.CertificateBuilder(issuer, subject, keys[name].public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(keys[signer], hashes.SHA256())
        )
        (tmp_path / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (tmp_path / f"{name}.key").write_bytes(
            keys[name].private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return tmp_path


async def test_only_clients_of_the_clusters_authority_are_answered(node: Node, authority: Path) -> None:
    import ssl

    context = server.tls(authority / "node.crt", authority / "node.key", authority / "ca.crt")
    async with server.serve(
        node.station, node.pods, Meter(node.station, node.pods), "127.0.0.1", 0, context
    ) as port:
        known = ssl.create_default_context(cafile=authority / "ca.crt")
        known.load_cert_chain(authority / "node.crt", authority / "node.key")
        stranger = ssl.create_default_context(cafile=authority / "ca.crt")
        stranger.load_cert_chain(authority / "other.crt", authority / "other.key")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"https://127.0.0.1:{port}/healthz", ssl=known) as answer:
                assert answer.status == 200
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"https://127.0.0.1:{port}/healthz", ssl=stranger)
            plain = ssl.create_default_context(cafile=authority / "ca.crt")
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"https://127.0.0.1:{port}/healthz", ssl=plain)
