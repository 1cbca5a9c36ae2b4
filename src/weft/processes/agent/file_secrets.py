"""Certificates that lie in files of the pod, served to Envoy under Istio's names and anew when the files change.

`file-cert:CERT~KEY` is a certificate chain with its key, `file-root:CA` what to verify others with.
`file-root:CA~CRL` says who is revoked as well; `file-root:system` are the roots that this system trusts.
The workload's own certificate may lie in files too: then they are served under its names besides.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from weft.adapters import clock, sds_server
from weft.pki import credentials, pem
from weft.pki.credentials import CredentialError
from weft.processes.agent.identity_settings import Files
from weft.xds import names, secrets
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


def own(files: Files) -> Mapping[str, str]:
    """The names of the workload's own certificate and roots, and those of the files that hold them."""
    return {
        names.WORKLOAD_CERTIFICATE: names.file_certificate(str(files.chain), str(files.key)),
        names.TRUST_ROOTS: names.file_roots(str(files.roots)),
    }


class FileSecrets:
    """Keeps what Envoy asks for by the names of files as the files are; what goes by `aliases`, unasked."""

    def __init__(self, served: sds_server.Secrets, aliases: Mapping[str, str] | None = None) -> None:
        self._served = served
        self._aliases = aliases or {}
        self._seen: dict[str, tuple[bytes, ...]] = {}
        self._suspected: dict[str, str] = {}
        self._troubles: dict[str, str] = {}

    async def run(self) -> None:
        """Look at the files that are asked for, without end."""
        while True:
            asked = self._served.asked
            by_files = [name for name in sorted(self._served.names) if name.startswith((CERTIFICATE, ROOT))]
            followed = [*self._aliases, *by_files]
            if new := [secret for name in followed if (secret := self._look(name))]:
                self._served.publish(*new)
            if followed:
                await _either(asked, _LOOK_SECONDS)
            else:
                await asked.wait()

    def _look(self, name: str) -> Resource | None:
        """The secret, where its files are new. What Envoy has is kept while they are missing or do not fit."""
        written = self._aliases.get(name, name)
        try:
            contents = tuple(path.read_bytes() for path in _paths(written))
            if (before := self._seen.get(name)) == contents:
                self._forget(name)
                return None
            texts = [content.decode("ascii", "replace") for content in contents]
            secret = _secret(written, texts, name)
            if before is not None and written.startswith(CERTIFICATE):
                _refuse_expired(texts[0])
        except OSError as error:
            self._say(name, f"{error.filename}: {error.strerror}")
            return None
        except CredentialError as error:
            self._say(name, str(error))
            return None
        self._forget(name)
        self._seen[name] = contents
        _log.info("%s is read", name if written == name else f"{name} ({written})")
        return secret

    def _forget(self, name: str) -> None:
        self._suspected.pop(name, None)
        self._troubles.pop(name, None)

    def _say(self, name: str, trouble: str) -> None:
        """Log a trouble once, however long it lasts; not one of a moment, in which a volume is being replaced."""
        if self._suspected.get(name) != trouble:
            self._suspected[name] = trouble
        elif self._troubles.get(name) != trouble:
            self._troubles[name] = trouble
            written = self._aliases.get(name, name)
            kept = "; what Envoy has is kept" if name in self._seen else ""
            _log.error(
                "%s cannot be served: %s%s. Check the volume that it is mounted from", written, trouble, kept
            )


def _paths(name: str) -> Iterable[Path]:
    first, *rest = name.partition(":")[2].split("~")
    return [_system_roots() if name.startswith(ROOT) and first == SYSTEM else Path(first), *map(Path, rest)]


def _system_roots() -> Path:
    """Where this system keeps its roots; where Debian does, if nowhere."""
    return next((path for path in SYSTEM_ROOTS if path.exists()), SYSTEM_ROOTS[0])


def _secret(written: str, texts: list[str], name: str) -> Resource:
    match written.partition(":")[0], texts:
        case "file-cert", [chain, key]:
            pair = credentials.pair(chain, key)
            return secrets.certificate(name, pair.chain, pair.key)
        case "file-root", [roots]:
            return secrets.roots(name, credentials.roots(roots))
        case "file-root", [roots, crl]:
            return secrets.roots(name, credentials.roots(roots), credentials.crl(crl))
        case _:
            raise CredentialError(f"the name is neither {CERTIFICATE}CERT~KEY nor {ROOT}CA")


def _refuse_expired(chain: str) -> None:
    """A certificate that is over does not take the place of another."""
    ends = pem.load_certificate(chain).not_valid_after_utc
    if ends <= clock.now():
        raise CredentialError(f"the new certificate has expired ({ends})")


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
