"""A pod's certificate across restarts of its agent, while no authority answers: in memory, or not at all."""

import json
import logging
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from weft.adapters import files
from weft.pki import credentials, identity, pem, revocation
from weft.pki.credentials import CredentialError
from weft.pki.identity import SpiffeId

_log = logging.getLogger("weft.agent.identity")


@dataclass(frozen=True, slots=True)
class Found:
    """What was kept, PEM; the root apart."""

    chain: str
    key: str = field(repr=False)
    root: str
    expires: datetime
    revoked: str = ""


class Kept:
    """The file `path`, which only the proxy's user may read, where that lies in memory.

    Only a certificate of `namespace` and `account` is taken from it, and only while it is good.
    """

    def __init__(self, path: Path, namespace: str, account: str) -> None:
        self._path = path if files.is_in_memory(path.parent) else None
        self._namespace, self._account = namespace, account

    def write(self, chain: str, key: str, root: str, revoked: str = "") -> None:
        """Keep these in place of what was there."""
        if self._path is None:
            return
        try:
            kept = {"chain": chain, "key": key, "root": root, "revoked": revoked}
            files.write(self._path, json.dumps(kept), mode=0o600)
        except OSError as error:
            _log.warning("the certificate is not kept for a restart: %s: %s", self._path, error.strerror)

    def read(self, now: datetime) -> Found | None:
        """What can still be used of it."""
        if self._path is None or (text := files.read(self._path)) is None:
            return None
        try:
            kept = json.loads(text)
            pair = credentials.pair(kept["chain"], kept["key"])
            leaf = pem.load_certificate(pair.chain)
            root = credentials.roots(kept["root"])
            revoked = revocation.text(revocation.load(kept["revoked"])) if kept.get("revoked") else ""
        except (ValueError, KeyError, TypeError, CredentialError) as error:
            _log.warning("what was kept of the certificate cannot be used: %s", error)
            return None
        match identity.of_certificate(leaf):
            case SpiffeId(_, self._namespace, self._account) if leaf.not_valid_after_utc > now:
                return Found(pair.chain, pair.key, root, leaf.not_valid_after_utc, revoked)
            case _:
                return None
