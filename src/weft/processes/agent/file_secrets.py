"""Certificates that lie in files of the pod, served to Envoy under Istio's names and anew when the files change.

`file-cert:CERT~KEY` is a certificate chain with its key, `file-root:CA` what to verify others with.
`file-root:CA~CRL` says who is revoked as well; `file-root:system` are the roots that this system trusts.
"""

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

from weft.adapters import sds_server
from weft.pki import credentials
from weft.pki.credentials import CredentialError
from weft.xds import secrets
from weft.xds.resource import Resource

CERTIFICATE, ROOT = "file-cert:", "file-root:"
SYSTEM = "system"
SYSTEM_ROOTS = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian, Alpine, Arch
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # Fedora, RHEL
    Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    Path("/etc/ssl/ca-bundle.pem"),  # SUSE
    Path("/etc/ssl/cert.pem"),
)

_log = logging.getLogger("weft.agent.files")
_LOOK_SECONDS = 1.0  # mounted Secrets change once a minute at most; a look costs some microseconds


class FileSecrets:
    """Keeps what Envoy asks for by the names of files as the files are."""

    def __init__(self, served: sds_server.Secrets) -> None:
        self._served = served
        self._seen: dict[str, tuple[bytes, ...]] = {}
        self._troubles: dict[str, str] = {}

    async def run(self) -> None:
        """Look at the files that are asked for, without end."""
        while True:
            asked = self._served.asked
            names = [name for name in sorted(self._served.names) if name.startswith((CERTIFICATE, ROOT))]
            if new := [secret for name in names if (secret := self._look(name))]:
                self._served.publish(*new)
            if names:
                await _either(asked, _LOOK_SECONDS)
            else:
                await asked.wait()

    def _look(self, name: str) -> Resource | None:
        """The secret, where its files are new. What Envoy has is kept while they are missing or do not fit."""
        try:
            contents = tuple(path.read_bytes() for path in _paths(name))
            if self._seen.get(name) == contents:
                return None
            secret = _secret(name, [content.decode("ascii", "replace") for content in contents])
        except OSError as error:
            self._say(name, f"{error.filename}: {error.strerror}")
            return None
        except CredentialError as error:
            self._say(name, str(error))
            return None
        self._troubles.pop(name, None)
        self._seen[name] = contents
        _log.info("%s is read", name)
        return secret

    def _say(self, name: str, trouble: str) -> None:
        """Log a trouble once, however long it lasts."""
        if self._troubles.get(name) != trouble:
            self._troubles[name] = trouble
            _log.error("%s cannot be served: %s. Check the volume that it is mounted from", name, trouble)


def _paths(name: str) -> Iterable[Path]:
    first, *rest = name.partition(":")[2].split("~")
    return [_system_roots() if name.startswith(ROOT) and first == SYSTEM else Path(first), *map(Path, rest)]


def _system_roots() -> Path:
    """Where this system keeps its roots; where Debian does, if nowhere."""
    return next((path for path in SYSTEM_ROOTS if path.exists()), SYSTEM_ROOTS[0])


def _secret(name: str, texts: list[str]) -> Resource:
    match name.partition(":")[0], texts:
        case "file-cert", [chain, key]:
            pair = credentials.pair(chain, key)
            return secrets.certificate(name, pair.chain, pair.key)
        case "file-root", [roots]:
            return secrets.roots(name, credentials.roots(roots))
        case "file-root", [roots, crl]:
            return secrets.roots(name, credentials.roots(roots), credentials.crl(crl))
        case _:
            raise CredentialError(f"the name is neither {CERTIFICATE}CERT~KEY nor {ROOT}CA")


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
