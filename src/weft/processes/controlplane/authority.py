"""istiod's own certificate, of the mesh's authority."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from datetime import timedelta

from cryptography import x509

from weft.adapters import clock, keys
from weft.adapters.grpc_server import KeyPair
from weft.pki import authority, pem, rotation
from weft.pki.succession import Trusted
from weft.processes.controlplane.succession import Keeper

SERVER_LIFETIME = timedelta(hours=24)

log = logging.getLogger("weft.ca")


class ServerCertificate:
    """Our own certificate for gRPC and HTTPS: of the authority in force, replaced at half of its life."""

    def __init__(self, keeper: Keeper, names: tuple[str, ...], trusted: Callable[[], Trusted]) -> None:
        """`trusted` says who vouches for clients' certificates, and which are revoked."""
        self._keeper, self._names, self._trusted = keeper, names, trusted
        self._signer = keeper.serving
        self._certificate, self._key, self._chain = self._issue()
        self.grpc = KeyPair(self._key, self._chain, *self._clients())
        self.https = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.https.minimum_version = ssl.TLSVersion.TLSv1_2
        _use(self.https, self._key, self._chain)

    async def run(self) -> None:
        """Rotate for ever. Open connections keep the certificate they began with."""
        while True:
            now = clock.now()
            await asyncio.sleep(max(1.0, (rotation.next(self._certificate, now) - now).total_seconds()))
            self.replace()
            log.info("replaced the server certificate")

    def follow(self) -> None:
        """Be of the authority that is in force now, and let in whom is trusted now."""
        if self._signer is not self._keeper.serving:
            self.replace()
        else:
            self.grpc.replace(self._key, self._chain, *self._clients())

    def replace(self) -> None:
        """Use a new certificate from the next handshake on."""
        self._signer = self._keeper.serving
        self._certificate, self._key, self._chain = self._issue()
        self.grpc.replace(self._key, self._chain, *self._clients())
        _use(self.https, self._key, self._chain)

    def _clients(self) -> tuple[str, str]:
        trusted = self._trusted()
        return trusted.roots, trusted.revoked

    def _issue(self) -> tuple[x509.Certificate, str, str]:
        key = keys.new_key()
        certificate = authority.issue_server(
            self._signer,
            key.public_key(),
            names=self._names,
            now=clock.now(),
            serial=keys.new_serial(),
            lifetime=SERVER_LIFETIME,
        )
        return certificate, pem.key(key), pem.certificates((certificate, *self._signer.path))


def _use(context: ssl.SSLContext, key: str, chain: str) -> None:
    with keys.as_file(key + chain) as path:
        context.load_cert_chain(path)
