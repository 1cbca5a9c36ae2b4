"""The pod's certificate from the mesh's authority: obtained, turned over in time, and handed to Envoy.

The key never leaves the pod. While no authority answers, the certificate that there is goes on being used.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from weft.adapters import clock, keys, sds_server
from weft.adapters.istiod import Istiod, TroubleError
from weft.pki import pem, request, rotation, succession
from weft.pki.succession import Trusted
from weft.processes.agent.holding import told
from weft.processes.agent.identity_settings import IdentitySettings
from weft.processes.agent.kept import Kept
from weft.xds import secrets
from weft.xds.names import TRUST_ROOTS, WORKLOAD_CERTIFICATE

_log = logging.getLogger("weft.agent.identity")

_LOOK_SECONDS = 5.0
_LONGEST_PAUSE = 10.0
_LONGEST_PAUSE_AT_EASE = 60.0
_SOONEST = 1.0
_SPREAD_SECONDS = 5.0
"""Within it all pods turn over to a new root: thousands do not ask in one moment."""
_ENVOYS_SECONDS = 60.0
"""How long Envoy may take to confirm new roots."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What an authority has issued, as PEM; what it says to verify others with; and how many seconds to use it."""

    chain: str
    key: str = field(repr=False)
    trusted: Trusted
    expires: datetime
    seconds: float


@dataclass(slots=True)
class Requests:
    """How often certificates were asked for, and how often in vain."""

    made: int = 0
    failed: int = 0


def pause(failures: int, chance: float, left: timedelta = timedelta()) -> float:
    """Seconds to wait after failures in a row: 0.2 doubling up to 10, spread by `chance` in [0, 1).

    With a certificate that is good for `left` there is less of a hurry: up to a minute, or a twentieth of that.
    """
    at_ease = min(_LONGEST_PAUSE_AT_EASE, left.total_seconds() / 20)
    return min(max(_LONGEST_PAUSE, at_ease), 0.2 * 2.0 ** min(failures - 1, 10)) * (0.5 + chance / 2)


class Identity:
    """Keeps the secrets of one Envoy fresh."""

    def __init__(
        self,
        istiod: Istiod,
        served: sds_server.Secrets,
        settings: IdentitySettings,
        kept: Kept,
        requests: Requests,
        roots: Sequence[str] = (),
    ) -> None:
        """`kept` is what a former run had, `requests` counts; `roots` are trusted besides istiod's, as PEM."""
        self._istiod = istiod
        self._served = served
        self._settings = settings
        self._kept = kept
        self._more_roots = "\n".join(roots)
        self._said = ""
        self._held: Issued | None = None
        self._trusted = Trusted()
        self._due = 0.0
        self._hurry = asyncio.Event()
        self._published: tuple[Issued, Trusted, bytes] | None = None
        self._requests = requests

    async def run(self) -> None:
        """Obtain a certificate and renew it, and follow the roots, without end."""
        self._resume()
        async with asyncio.TaskGroup() as both:
            both.create_task(self._renew())
            both.create_task(self._follow_roots())

    def _resume(self) -> None:
        """Go on with what a former run of this container had, until there is a new certificate."""
        if (found := self._kept.read(clock.now())) is not None:
            _log.info("the certificate of before the restart is used, good until %s", found.expires)
            self._trusted = Trusted(found.root, found.revoked)
            self._held = Issued(found.chain, found.key, self._trusted, found.expires, 0)

    async def _renew(self) -> None:
        while True:
            self._held = held = await self._obtain()
            self._use(held.trusted)
            await self._until_due(held.seconds)

    async def learn(self, trusted: Trusted) -> None:
        """Verify others with this from now on; returns once Envoy does. TimeoutError if it does not."""
        before = self._trusted
        self._use(trusted)
        if (held := self._held) and self._is_followed(held.chain, before, trusted):
            self._due = min(self._due, clock.elapsed() + _SPREAD_SECONDS * random.random())  # noqa: S311 -- no secret
            self._hurry.set()
        async with asyncio.timeout(_ENVOYS_SECONDS):
            await self._served.taken(TRUST_ROOTS)

    def _is_followed(self, chain: str, before: Trusted, now: Trusted) -> bool:
        """Whether the authority that issued a certificate was the one in force, and is no longer.

        One that a signer of the cluster issued is of neither.
        """
        return succession.is_led_to(chain, before.roots) and not succession.is_led_to(chain, now.roots)

    def _use(self, trusted: Trusted) -> None:
        self._trusted = trusted
        self._istiod.learn(trusted.roots)
        if held := self._held:
            self._kept.write(held.chain, held.key, trusted.roots, trusted.revoked)
        self._publish()

    async def _obtain(self) -> Issued:
        failures = 0
        while True:
            self._requests.made += 1
            try:
                issued = await self._ask()
            except TroubleError as error:
                failures += 1
                self._requests.failed += 1
                self._say(str(error))
                left = self._held.expires - clock.now() if self._held else timedelta()
                await asyncio.sleep(pause(failures, random.random(), left))  # noqa: S311 -- jitter, not a secret
                continue
            if failures:
                _log.info("a certificate was issued after %d attempts in vain", failures)
            self._said = ""
            return issued

    async def _ask(self) -> Issued:
        key = await asyncio.to_thread(_new_key, self._settings)
        answer = await self._istiod.certificate(
            request.sign(key, self._settings.name), self._settings.signer, lifetime=self._settings.lifetime
        )
        chain = answer.chain
        try:
            leaf = pem.load_certificate(chain[0])
            ours = pem.public_key(leaf.public_key()) == key.public_key()
        except pem.PemError as error:
            raise TroubleError(f"istiod answered with something else than a certificate: {error}") from error
        if not ours:
            raise TroubleError("istiod answered with a certificate for another key: see its log")
        now = clock.now()
        _tell_clock_error(leaf, now)
        wait = rotation.wait(leaf, now, self._settings.grace, random.random())  # noqa: S311 -- spreads renewals
        _log.info("certificate until %s, to be renewed in %s", leaf.not_valid_after_utc, told(wait))
        # a certificate that is over when it is issued must not make us ask without pause
        seconds = max(wait.total_seconds(), _SOONEST)
        return Issued("".join(chain), pem.key(key), answer.trusted, leaf.not_valid_after_utc, seconds)

    def _publish(self) -> None:
        """Hand the secrets to Envoy. Trusted is what istiod, the root file and the pod say."""
        if (held := self._held) is None:
            return
        filed, trusted = self._filed(), self._trusted
        if self._published == (held, trusted, filed):
            return
        try:
            more = f"{filed.decode()}\n{self._more_roots}"
            roots = _joined(trusted.roots, more)
            bundles = [(each.domains, _joined(each.roots, more)) for each in trusted.bundles[:1]]
        except (pem.PemError, UnicodeDecodeError) as error:
            self._say(str(error))
            return
        bundles += [(each.domains, each.roots) for each in trusted.bundles[1:]]
        self._published = (held, trusted, filed)
        self._served.publish(
            secrets.certificate(WORKLOAD_CERTIFICATE, held.chain, held.key),
            secrets.roots(TRUST_ROOTS, roots, trusted.revoked, bundles),
        )

    def _filed(self) -> bytes:
        try:
            return self._istiod.root()
        except TroubleError as error:
            self._say(str(error))
            return b""

    async def _follow_roots(self) -> None:
        """Pass on the roots as their file changes."""
        while True:
            self._publish()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _until_due(self, seconds: float) -> None:
        """Wait, by two clocks: one that nobody sets, and that of the certificates, which may be put forward."""
        self._due, moment = clock.elapsed() + seconds, clock.now() + timedelta(seconds=seconds)
        while (left := min(self._due - clock.elapsed(), (moment - clock.now()).total_seconds())) > 0:
            self._hurry.clear()
            try:
                async with asyncio.timeout(min(left, _LOOK_SECONDS)):
                    await self._hurry.wait()
            except TimeoutError:
                pass

    def _say(self, trouble: str) -> None:
        """Log a trouble once, however long it lasts."""
        if trouble != self._said:
            self._said = trouble
            left = self._held.expires - clock.now() if self._held else timedelta()
            if left > timedelta():
                _log.error(
                    "no new certificate yet, trying again; the present one is good for another %s: %s",
                    told(left),
                    trouble,
                )
            else:
                _log.error("no certificate yet, trying again: %s", trouble)


def _new_key(settings: IdentitySettings) -> pem.PrivateKey:
    if settings.rsa_bits:
        return keys.new_rsa_key(settings.rsa_bits)
    return keys.new_key(ec.SECP384R1() if settings.curve == "P384" else ec.SECP256R1())


def _tell_clock_error(leaf: x509.Certificate, now: datetime) -> None:
    if error := rotation.clock_error(leaf, now):
        direction = "behind" if error < timedelta() else "ahead of"
        _log.warning(
            "this machine's clock is some %s %s that of the authority: certificates of others may be refused here "
            "as too young or too old. Set the clock (chrony, systemd-timesyncd)",
            told(abs(error)),
            direction,
        )


def _joined(*texts: str) -> str:
    """All certificates in PEM texts, each once."""
    return "".join(dict.fromkeys(pem.certificate(one) for one in pem.load_certificates("\n".join(texts))))
