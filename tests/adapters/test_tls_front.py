"""TLS in front of a gRPC server: certificates of clients are asked for, verified, and not insisted on."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from cryptography import x509
from tests.support.envoy import Identity
from tests.support.identities import Authority

from weft.adapters import tls_front
from weft.adapters.grpc_server import KeyPair, Peer, Server, Write

NAME = "istiod.istio-system.svc"
WEB = "spiffe://cluster.local/ns/shop/sa/web"
MESH, STRANGER = Authority(), Authority("stranger")


class Served:
    """A server that says who calls; `size` bytes of a stream's answer are asked for in its request."""

    def __init__(self) -> None:
        own = MESH.serve(NAME)
        self.pair = KeyPair(own.key, own.chain, MESH.roots)
        self.server = Server()
        self.peers: list[Peer] = []
        self.server.unary("test", "Whoami", self._whoami)
        self.server.stream("test", "Fill", self._fill)
        self.port = self.server.listen("127.0.0.1:0", self.pair)

    async def _whoami(self, message: bytes, peer: Peer) -> bytes:
        self.peers.append(peer)
        return message

    async def _fill(self, requests: AsyncIterator[bytes], write: Write, peer: Peer) -> None:
        async for request in requests:
            await write(b"x" * int(request))

    def channel(self, identity: Identity | None = None) -> grpc.aio.Channel:
        key, chain = (identity.key.encode(), identity.chain.encode()) if identity else (None, None)
        credentials = grpc.ssl_channel_credentials(MESH.roots.encode(), key, chain)
        options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
        options += [("grpc.max_receive_message_length", -1)]
        return grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options)

    async def call(self, identity: Identity | None = None) -> Peer:
        async with self.channel(identity) as channel:
            await method(channel, "Whoami")(b"")
        return self.peers[-1]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    one = Served()
    await one.server.start()
    try:
        yield one
    finally:
        await one.server.stop()


def method(channel: grpc.aio.Channel, name: str) -> Any:
    """What to call; the stubs know only messages of generated kinds."""
    return (channel.unary_unary if name == "Whoami" else channel.stream_stream)(f"/test/{name}")


def uri(peer: Peer) -> str:
    assert peer.certificate is not None
    names = peer.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return str(names.get_values_for_type(x509.UniformResourceIdentifier)[0])


async def test_a_client_may_show_a_certificate_or_none(served: Served) -> None:
    shown, bare = await served.call(MESH.issue(WEB)), await served.call()
    assert (uri(shown), shown.secure) == (WEB, True)
    assert (bare.certificate, bare.secure) == (None, True)
    assert shown.address.startswith("ipv4:127.0.0.1:")


async def test_many_at_once_are_each_known_by_their_own_certificate(served: Served) -> None:
    names = [f"spiffe://cluster.local/ns/shop/sa/w{number}" for number in range(40)]
    await asyncio.gather(*(served.call(MESH.issue(name)) for name in names))
    assert sorted(map(uri, served.peers)) == sorted(names)


async def test_a_certificate_that_the_mesh_has_not_issued_ends_the_handshake(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await asyncio.wait_for(served.call(STRANGER.issue(WEB)), 20)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert served.peers == []


async def test_who_comes_by_the_back_door_is_refused(served: Served) -> None:
    (front,) = served.server._behind  # as a process beside istiod finds it in /proc/net/unix
    async with grpc.aio.insecure_channel(front.inside) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(channel, "Whoami")(b"")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert served.peers == []


async def test_a_large_answer_arrives_whole_while_others_are_served(served: Served) -> None:
    async with served.channel() as channel:
        call = method(channel, "Fill")()
        await call.write(b"20000000")
        reading = asyncio.ensure_future(call.read())
        await served.call()
        assert len(await reading) == 20_000_000


async def test_a_replaced_pair_holds_from_the_next_handshake_on(served: Served) -> None:
    async with served.channel(MESH.issue(WEB)) as channel:
        ask = method(channel, "Whoami")
        await ask(b"")
        own = MESH.serve(NAME)
        served.pair.replace(own.key, own.chain, STRANGER.roots)
        await ask(b"")  # what is open goes on
    assert uri(await served.call(STRANGER.issue(WEB))) == WEB
    with pytest.raises(grpc.aio.AioRpcError):
        await asyncio.wait_for(served.call(MESH.issue(WEB)), 20)


async def test_who_never_finishes_its_handshake_is_dropped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tls_front, "HANDSHAKE_SECONDS", 0.3)
        slow = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(50)]
        slow[0][1].write(b"\x16\x03\x01")  # the beginning of a greeting
        for reader, writer in slow:
            async with asyncio.timeout(30):
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.close()
    assert (await served.call()).secure


async def test_what_is_no_tls_and_what_is_not_http2_is_hung_up_on(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
    writer.close()
    context = ssl.create_default_context(cadata=MESH.roots)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context, server_hostname=NAME)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    assert (await served.call()).secure


async def test_a_taken_port_is_an_error_at_once() -> None:
    own = MESH.serve(NAME)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        Server().listen(f"127.0.0.1:{taken.getsockname()[1]}", KeyPair(own.key, own.chain))


async def test_a_revoked_certificate_ends_the_handshake(served: Served) -> None:
    gone, good, own = MESH.issue(WEB), MESH.issue(WEB), MESH.serve(NAME)
    assert uri(await served.call(gone)) == WEB
    served.pair.replace(own.key, own.chain, MESH.roots, MESH.revoke(gone))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await asyncio.wait_for(served.call(gone), 20)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert uri(await served.call(good)) == WEB
    assert (await served.call()).certificate is None
