"""The pod's certificate: obtained, turned over at half its life, and handed to Envoy. The key never leaves us."""

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from weft.adapters import clock, keys, sds_server
from weft.adapters.istiod import Istiod, TroubleError
from weft.pki import pem, request, rotation
from weft.xds import secrets

_log = logging.getLogger("weft.agent.identity")

WORKLOAD = "default"
ROOTS = "ROOTCA"
_POLL_SECONDS = 5.0
_LONGEST_PAUSE = 10.0
_SOONEST = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Held:
    """What the pod identifies itself with, and until when. `chain` and `key` are PEM."""

    chain: str
    key: str
    roots: str
    renew_at: datetime
    expires: datetime


def pause(failures: int, chance: float) -> float:
    """Seconds to wait after failures in a row: 0.2 doubling up to 10, spread by `chance` in [0, 1)."""
    return min(_LONGEST_PAUSE, 0.2 * 2.0 ** min(failures - 1, 10)) * (0.5 + chance / 2)


class Identity:
    """Keeps the secrets of one Envoy fresh."""

    def __init__(
        self, istiod: Istiod, served: sds_server.Secrets, *, lifetime: timedelta, roots: Sequence[str] = ()
    ) -> None:
        """`roots` are certificates to trust besides istiod's, as PEM."""
        self._istiod = istiod
        self._served = served
        self._lifetime = lifetime
        self._more_roots = "\n".join(roots)
        self._said = ""
        self.held: Held | None = None

    async def run(self) -> None:
        """Obtain a certificate and renew it, without end."""
        while True:
            self.held = await self._obtain()
            await self._publish(self.held)
            await self._until_due(self.held)

    async def _obtain(self) -> Held:
        failures = 0
        while True:
            try:
                held = await self._ask()
            except TroubleError as error:
                failures += 1
                self._say(str(error))
                await asyncio.sleep(pause(failures, random.random()))  # noqa: S311 -- jitter, not a secret
                continue
            self._said = ""
            return held

    async def _ask(self) -> Held:
        key = keys.new_key()
        answer = await self._istiod.certificate(request.sign(key), lifetime=self._lifetime)
        chain = answer.chain
        try:
            leaf = pem.load_certificate(chain[0])
        except pem.PemError as error:
            raise TroubleError(f"istiod answered with something else than a certificate: {error}") from error
        lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        jitter = lifetime / 20 * random.random()  # noqa: S311 -- spreads renewals, no secret
        # a certificate that is half over when it is issued must not make us ask without pause
        renew_at = max(rotation.next(leaf, clock.now(), jitter=jitter), clock.now() + _SOONEST)
        _log.info("certificate until %s, to be renewed at %s", leaf.not_valid_after_utc, renew_at)
        return Held("".join(_leaf_chain(chain)), pem.key(key), chain[-1], renew_at, leaf.not_valid_after_utc)

    async def _publish(self, held: Held) -> None:
        """Hand the secrets to Envoy. Trusted is what istiod, the root file and the pod say."""
        filed = (await self._istiod.root()).decode()
        known = pem.load_certificates(f"{filed}\n{held.roots}\n{self._more_roots}")
        trusted = "".join(dict.fromkeys(pem.certificate(one) for one in known))
        self._served.publish(
            secrets.certificate(WORKLOAD, held.chain, held.key),
            secrets.roots(ROOTS, trusted),
        )

    async def _until_due(self, held: Held) -> None:
        """Wait until the certificate is to be renewed; meanwhile pass on changes of the roots."""
        known = await self._istiod.root()
        while (left := held.renew_at - clock.now()) > timedelta():
            await asyncio.sleep(min(left.total_seconds(), _POLL_SECONDS))
            try:
                root = await self._istiod.root()
                if root != known:
                    known = root
                    _log.info("the root certificates changed")
                    await self._publish(held)
            except (TroubleError, pem.PemError) as error:
                self._say(str(error))

    def _say(self, trouble: str) -> None:
        """Log a trouble once, however long it lasts."""
        if trouble != self._said:
            self._said = trouble
            _log.error("no certificate yet, trying again: %s", trouble)


def _leaf_chain(chain: Sequence[str]) -> Sequence[str]:
    """What Envoy sends in a handshake: the leaf and what leads to the root, without the root."""
    return chain[:-1] if len(chain) > 1 else chain
