"""The certificate that Envoy has, wherever it came from: how long it is good, and who else gets it."""

import asyncio
import logging
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from weft.adapters import clock, files, sds_server
from weft.pki import pem
from weft.processes.agent.identity_settings import CHAIN, KEY, ROOTS
from weft.xds import secrets
from weft.xds.names import TRUST_ROOTS, WORKLOAD_CERTIFICATE
from weft.xds.secrets import Contents

_log = logging.getLogger("weft.agent.identity")

_LOOK_SECONDS: Final = 10.0
_FIRST_WORD: Final = 4
"""Everybody who issues replaces certificates before the last quarter of their life."""


@dataclass(frozen=True, slots=True)
class Life:
    """From when to when a certificate is good."""

    begins: datetime
    ends: datetime

    def left(self, now: datetime) -> timedelta:
        """How long it is good yet; never negative."""
        return max(self.ends - now, timedelta())


def told(left: timedelta) -> str:
    """A span as people say it: `11 h 58 min`, `42 s`."""
    seconds = int(left.total_seconds())
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes > 1 else f"{seconds} s"


class Holding:
    """Watches the secrets that Envoy is served: tells of an end that comes near, and writes them to a folder."""

    def __init__(self, served: sds_server.Secrets, output: Path | None = None) -> None:
        self._served = served
        self._output = output
        self._written: tuple[Contents, Contents] | None = None
        self._trouble = ""
        self._parts = _FIRST_WORD
        self.own: Life | None = None
        self.roots: Life | None = None

    async def run(self) -> None:
        """Follow the secrets, without end."""
        known: tuple[Contents, Contents] | None = None
        while True:
            changed = self._served.changed
            present = (self._contents(WORKLOAD_CERTIFICATE), self._contents(TRUST_ROOTS))
            if present != known:
                known = present
                self._learn(*present)
            self._write(*present)
            self._warn(clock.now())
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await changed.wait()
            except TimeoutError:
                pass

    def left(self, now: datetime) -> timedelta:
        """How long the certificate is good yet; nothing where there is none."""
        return self.own.left(now) if self.own else timedelta()

    def _contents(self, name: str) -> Contents:
        found = self._served.select([name])
        return secrets.contents(found[0]) if found else Contents()

    def _learn(self, own: Contents, roots: Contents) -> None:
        self.own = _life(own.chain) or self.own
        self.roots = _life(roots.roots) or self.roots
        self._parts = _FIRST_WORD

    def _warn(self, now: datetime) -> None:
        """Say when a quarter of the life is left, an eighth, and so on; and when it is over."""
        if self.own is None:
            return
        left, whole = self.own.left(now), self.own.ends - self.own.begins
        if not left and self._parts:
            self._parts = 0
            _log.error("the certificate has expired, and nobody in the mesh accepts it any more")
        while left and self._parts and left < whole / self._parts:
            if left >= whole / (self._parts * 2):
                _log.error(
                    "the certificate expires in %s (%s), and none has replaced it", told(left), self.own.ends
                )
            self._parts *= 2

    def _write(self, own: Contents, roots: Contents) -> None:
        """Put what Envoy has where applications look for it; again until that succeeds."""
        if self._output is None or (own, roots) == self._written or not own.chain or not own.key:
            return
        try:
            write(self._output, own, roots)
        except OSError as error:
            trouble = f"{error.strerror} ({error.filename})"
            if trouble != self._trouble:
                self._trouble = trouble
                _log.error("OUTPUT_CERTS: certificates cannot be written: %s. Mount an emptyDir there", trouble)
            return
        self._trouble, self._written = "", (own, roots)
        _log.info("certificates are written to %s", self._output)


def write(folder: Path, own: Contents, roots: Contents) -> None:
    """Write the three files, the key first: whoever waits for the chain finds its key there.

    They are for the proxy's user alone; in a folder that hands on its group, as emptyDirs do in a pod with an
    fsGroup, that group may read them.
    """
    shared = folder.stat().st_mode & stat.S_ISGID
    mode = stat.S_IRUSR | stat.S_IWUSR | (stat.S_IRGRP if shared else 0)
    for name, content in ((KEY, own.key), (ROOTS, roots.roots), (CHAIN, own.chain)):
        if content:
            files.write(folder / name, content, mode=mode)


def _life(text: str) -> Life | None:
    """That of the first certificate to end in a PEM text."""
    try:
        found = pem.load_certificates(text) if text else ()
    except pem.PemError:
        return None
    first = min(found, key=lambda each: each.not_valid_after_utc, default=None)
    return None if first is None else Life(first.not_valid_before_utc, first.not_valid_after_utc)
