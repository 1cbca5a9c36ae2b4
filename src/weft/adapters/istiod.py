"""istiod as a sidecar sees it: one TLS connection for certificates and for configuration."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from weft.pki import messages

_grpc: Any = grpc  # what makes credentials has no types

_CREATE = f"/{messages.SERVICE}/{messages.METHOD}"
_OPTIONS = (
    # a restarted istiod should be found again soon
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 3000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # an istiod whose machine is gone says nothing: ask it
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    # configurations of large meshes exceed the default of 4 MB
    ("grpc.max_receive_message_length", -1),
)


class TroubleError(Exception):
    """istiod gave no answer that serves; the message names the cause and the way out."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the pod's credentials lie. The files are read for every use: all are replaced while we run.

    `chain` and `key` are a certificate that is shown to istiod; with one the token may be missing.
    """

    address: str
    token: Path
    root: Path
    cluster_id: str = "Kubernetes"
    chain: Path | None = None
    key: Path | None = None

    def read_root(self) -> bytes:
        """The certificates istiod is to be verified with."""
        way_out = "istiod writes ConfigMap istio-ca-root-cert into each namespace: check that istiod runs"
        return _read(self.root, way_out)

    def read_pair(self) -> tuple[bytes, bytes]:
        """The certificate to show and its key; both empty where there is none."""
        if self.chain is None or self.key is None:
            return b"", b""
        way_out = "check the folder of PROV_CERT, or the volume behind ISTIO_META_TLS_CLIENT_CERT_CHAIN"
        return _read(self.chain, way_out), _read(self.key, way_out)

    def metadata(self) -> Sequence[tuple[str, str]]:
        """Who asks, as gRPC metadata."""
        if self.chain is not None and not self.token.exists():
            return (("clusterid", self.cluster_id),)
        way_out = "the pod needs the projected volume istio-token: delete the pod, so that it is injected again"
        token = _read(self.token, way_out).decode().strip()
        return (("authorization", f"Bearer {token}"), ("clusterid", self.cluster_id))


@dataclass(slots=True)
class _Connection:
    """A connection, the roots that it was verified with, and how many streams it carries."""

    channel: grpc.aio.Channel
    roots: bytes
    streams: int = 0


class Istiod:
    """Connections to istiod. A call keeps its own; when the root certificates change, new calls go by a new one.

    When the certificate changes that was shown, where one is, the connection made with it ends.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._connection: _Connection | None = None
        self._learned = b""
        self._pair = (b"", b"")

    async def close(self) -> None:
        """End the connection and every stream on it."""
        if self._connection:
            await self._connection.channel.close()
            self._connection = None

    def root(self) -> bytes:
        """The root certificates now on file."""
        return self._credentials.read_root()

    def learn(self, roots: str) -> None:
        """Verify istiod with these too: their file may lag behind."""
        self._learned = roots.encode()

    async def _shown(self) -> tuple[bytes, bytes]:
        """The certificate now on file. When it changed, the connection made with the old one ends."""
        pair = self._credentials.read_pair()
        if pair != self._pair:
            await self.close()
            self._pair = pair
        return pair

    async def certificate(self, csr: str, signer: str = "", *, lifetime: timedelta) -> messages.CertificateAnswer:
        """The certificates that istiod has issued for a request, and what to verify others with.

        `signer` is one of several of the cluster, "" leaves it to istiod.
        """
        connection = await self._open()
        call: Any = connection.channel.unary_unary(_CREATE)
        request = messages.encode_request(messages.CertificateRequest(csr, lifetime, signer=signer))
        try:
            answer = await call(request, metadata=self._credentials.metadata(), timeout=10)
            decoded = messages.decode_response(answer)
        except messages.MessageError as error:
            raise TroubleError(f"istiod ({self._credentials.address}) answered nonsense: {error}") from error
        except grpc.aio.AioRpcError as error:
            raise TroubleError(self._explained(error)) from error
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            # the connection was closed under the call: the roots are new
            raise TroubleError(f"the connection to istiod ({self._credentials.address}) was given up") from None
        if not decoded.chain:
            raise TroubleError(f"istiod ({self._credentials.address}) answered with no certificate: see its log")
        return decoded

    async def stream(self, method: str, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Relay an xDS stream. It waits for istiod without end; TroubleError when istiod ends it."""
        connection = await self._open()
        connection.streams += 1
        method_call: Any = connection.channel.stream_stream(method)
        call = method_call(requests, metadata=self._credentials.metadata(), wait_for_ready=True)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise TroubleError(self._explained(error)) from error
        finally:
            call.cancel()
            connection.streams -= 1
            if connection is not self._connection and not connection.streams:
                await connection.channel.close()

    async def _open(self) -> "_Connection":
        root = self._credentials.read_root()
        roots = b"\n".join((root, self._learned))
        chain, key = await self._shown()
        if (old := self._connection) is not None and old.roots == roots:
            return old
        credentials = _grpc.ssl_channel_credentials(
            root_certificates=roots, private_key=key or None, certificate_chain=chain or None
        )
        channel = grpc.aio.secure_channel(self._credentials.address, credentials, options=_OPTIONS)
        self._connection = new = _Connection(channel, roots)
        if old is not None and not old.streams:
            await old.channel.close()
        return new

    def _explained(self, error: grpc.aio.AioRpcError) -> str:
        where = f"istiod ({self._credentials.address})"
        details = " ".join((error.details() or "").split())
        match error.code():
            case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
                token = self._credentials.token
                return f"{where} refuses the token {token}: {details}. Delete the pod, and it gets a new one"
            case grpc.StatusCode.UNAVAILABLE if "certificate" in details.lower():
                return f"{where} is not trusted: {details}. Its CA is not the one in {self._credentials.root}"
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"{where} is out of reach: {details}. Check the pods and the Service of istiod"
            case code:
                return f"{where} answered {code.name}: {details}. See its log"


def _read(path: Path, way_out: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TroubleError(f"cannot read {path}: {error.strerror}. {way_out[0].upper()}{way_out[1:]}") from error
    if not content.strip():
        raise TroubleError(f"{path} is empty. {way_out[0].upper()}{way_out[1:]}")
    return content
