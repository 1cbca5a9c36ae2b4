"""The key and certificate of our webhooks, kept in a Secret that replicas share, and told to the API server."""

import asyncio
import base64
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from weft.adapters import keys
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import MUTATINGWEBHOOKS, SECRETS, VALIDATINGWEBHOOKS
from weft.pki import authority, pem
from weft.processes.cni.health import Part
from weft.processes.underlay_controller import working
from weft.processes.underlay_controller.settings import COMMAND

Json = dict[str, Any]

SECRET: Final = f"{COMMAND}-server-certs"
_LIFETIME: Final = timedelta(days=3650)
_RENEWED: Final = timedelta(days=90)
"""What is left of its life when a certificate is renewed."""
_LOOK: Final = 30.0
"""Seconds between looks at what the API server is told."""
_TRIES: Final = 10

log = logging.getLogger("weft.underlay.certificates")


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM texts: what verifies us, our certificate and its key."""

    ca: str
    certificate: str
    key: str


class Certificates:
    """Use `load` before serving with `context`; give `run` a task."""

    def __init__(self, kube: Kube, namespace: str, now: Callable[[], datetime], told: Part) -> None:
        self._kube, self._namespace, self._now, self._told = kube, namespace, now, told
        self._pair: Pair | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        told.waits("the API server has not been told our certificate yet")

    async def load(self) -> None:
        """Read the Secret, or make it. Raises what the client raises."""
        for _ in range(_TRIES):
            found = await self._read()
            pair = _usable(found, self._now())
            if pair is None:
                pair = _made(self._namespace, self._now())
                if not await self._write(pair, found):
                    continue  # another replica was first
            if pair != self._pair:
                with keys.as_file(pair.key) as key, keys.as_file(pair.certificate) as certificate:
                    self.context.load_cert_chain(certificate, key)
                self._pair = pair
            return
        raise RuntimeError(f"Secret {self._namespace}/{SECRET} changes each time that it is read.")

    async def run(self) -> None:
        """Keep the API server told, for ever."""
        while True:
            try:
                await self.load()
                await self._tell()
            except working.PASSING as error:
                log.warning("webhooks: %s. It is tried again.", str(error) or type(error).__name__)
                self._told.waits(f"the webhooks cannot be told our certificate: {error}")
                await asyncio.sleep(1.0)
                continue
            self._told.ready()
            await asyncio.sleep(_LOOK)

    async def _read(self) -> Json | None:
        try:
            return await self._kube.get(SECRETS, SECRET, self._namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    async def _write(self, pair: Pair, found: Json | None) -> bool:
        data = {"ca.crt": pair.ca, "tls.crt": pair.certificate, "tls.key": pair.key}
        metadata: Json = {"name": SECRET, "namespace": self._namespace}
        if found:
            metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
        secret = {"metadata": metadata, "type": "kubernetes.io/tls", "data": encoded}
        try:
            await (self._kube.replace(SECRETS, secret) if found else self._kube.create(SECRETS, secret))
        except ApiError as error:
            if error.code != 409:
                raise
            return False
        log.info("made a key and a certificate: Secret %s/%s", self._namespace, SECRET)
        return True

    async def _tell(self) -> None:
        if self._pair is None:
            return
        bundle = base64.b64encode(self._pair.ca.encode()).decode()
        for kind in (MUTATINGWEBHOOKS, VALIDATINGWEBHOOKS):
            try:
                found = await self._kube.get(kind, COMMAND)
            except ApiError as error:
                if error.code != 404:
                    raise
                continue  # an installation without webhooks
            if patch := _patch(found, bundle):
                await self._kube.patch(kind, COMMAND, patch, how="json")
                log.info("told %s %s our certificate", kind.kind, COMMAND)


def _patch(found: Json, bundle: str) -> list[Json]:
    patch: list[Json] = []
    for index, webhook in enumerate(found.get("webhooks") or ()):
        if (webhook.get("clientConfig") or {}).get("caBundle") != bundle:
            patch += [
                {"op": "test", "path": f"/webhooks/{index}/name", "value": webhook["name"]},
                {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle},
            ]
    return patch


def _made(namespace: str, now: datetime) -> Pair:
    """An authority that signs this one certificate, and is forgotten."""
    signer = authority.self_signed(
        keys.new_key(),
        organization="spiderpool.spidernet.io",
        now=now,
        serial=keys.new_serial(),
        lifetime=_LIFETIME,
        common_name=f"{COMMAND}-ca",
    )
    key = keys.new_key()
    certificate = authority.issue_server(
        signer,
        key.public_key(),
        names=(f"{COMMAND}.{namespace}.svc", f"{COMMAND}.{namespace}", COMMAND),
        addresses=("127.0.0.1", "::1"),
        now=now,
        serial=keys.new_serial(),
        lifetime=_LIFETIME,
        common_name=COMMAND,
    )
    return Pair(pem.certificate(signer.certificate), pem.certificate(certificate), pem.key(key))


def _usable(secret: Json | None, now: datetime) -> Pair | None:
    """What a Secret holds; None where it is not a pair, or soon runs out."""
    data = (secret or {}).get("data") or {}
    try:
        pair = Pair(*(base64.b64decode(data[key]).decode() for key in ("ca.crt", "tls.crt", "tls.key")))
        certificate, key = pem.load_certificate(pair.certificate), pem.load_key(pair.key)
        pem.load_certificate(pair.ca)
    except (KeyError, ValueError, pem.PemError):
        return None
    if certificate.public_key() != key.public_key() or certificate.not_valid_after_utc - _RENEWED < now:
        return None
    return pair
