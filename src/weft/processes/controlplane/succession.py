"""The mesh's authority through time: read from its Secrets, followed by the next, its roots remembered.

Plugged in as Secret `cacerts`, or one of our own, which is made at the first start and kept in `istio-ca-secret`.
The roots that the mesh was told of are kept in `weft-trusted-roots`: a restart forgets none of them too early.
"""

import asyncio
import base64
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import grpc

from weft.adapters import clock, keys
from weft.adapters.grpc_server import RefusedError
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import PODS, SECRETS
from weft.adapters.kube.reflector import Applied, Deleted, Replaced
from weft.api.codes import AUTHORITY_UNUSABLE
from weft.base.problem import At, Problem, Severity
from weft.pki import authority, pem, plugged, revocation, succession
from weft.pki.authority import LIFETIMES, Authority
from weft.pki.plugged import PluggedError
from weft.pki.succession import Root, Succession, Trusted

PLUGGED, OWN, RECORD = "cacerts", "istio-ca-secret", "weft-trusted-roots"
TYPE = "istio.io/ca-root"
_RECORD_KEY = "roots.json"
_LOOK_SECONDS = 0.5
"""Between looks while one authority follows another."""
_RETRY_SECONDS = 2.0
_SOON = 0.1
"""The last part of a life in which whoever plugged it in is reminded."""

log = logging.getLogger("weft.ca")

Json = dict[str, Any]
Data = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class OwnAuthority:
    """How an authority of our own is made, and when the next one is: `grace` is the last part of its life.

    `rsa_bits` is 0 for a key on the curve P-256. `every` is how often its age is looked at; zero: never.
    """

    organization: str = "cluster.local"
    lifetime: timedelta = timedelta(days=3650)
    grace: float = 0.2
    every: timedelta = timedelta(hours=1)
    rsa_bits: int = 0

    def make(self, now: datetime) -> Authority:
        """A new one."""
        key = keys.new_rsa_key(self.rsa_bits) if self.rsa_bits else keys.new_key()
        return authority.self_signed(
            key, organization=self.organization, now=now, serial=keys.new_serial(), lifetime=self.lifetime
        )

    def is_old(self, certificate: Any, now: datetime, jitter: float = 0.0) -> bool:
        """Whether the next one is due; `jitter` in [0, 1) spreads replicas over a tenth of the time left."""
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        left = (ends - begins) * self.grace
        return bool(now >= ends - left * (1 - jitter / 10))


@dataclass(slots=True)
class _Found:
    """One of the Secrets: its data, None where there is none; the authority last read of it."""

    data: Data | None = None
    authority: Authority | None = None
    version: str = ""


class Keeper:
    """The authority of now. `told` is called with what to trust whenever that changes, after it is recorded.

    `confirmed` says whether all who are connected trust what was told last; `troubled` is called when there is
    another problem.
    """

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        own: OwnAuthority,
        *,
        told: Callable[[Trusted], Awaitable[None]],
        confirmed: Callable[[], bool],
        troubled: Callable[[], None] = lambda: None,
        lifetime: timedelta = LIFETIMES.longest,
    ) -> None:
        self._kube, self._namespace, self._own = kube, namespace, own
        self._told, self._confirmed, self._lifetime = told, confirmed, lifetime
        self._troubled = troubled
        self._secrets = {PLUGGED: _Found(), OWN: _Found()}
        self._roots: tuple[Root, ...] = ()
        self._record_version = ""
        self._state: Succession | None = None
        self._trusted = Trusted()
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._problems: dict[str, Problem] = {}

    # -- what others ask ------------------------------------------------------------------------------------------

    @property
    def signer(self) -> Authority:
        """Who signs now; RefusedError while nobody may, since the mesh has yet to hear of the new root."""
        if self._state is None or self._state.signer is None:
            why = "the mesh is being told of a new root; certificates are given in a moment"
            raise RefusedError(grpc.StatusCode.UNAVAILABLE, why)
        return self._state.signer

    @property
    def serving(self) -> Authority:
        """Whom istiod's own certificate is of."""
        if self._state is None:
            raise RuntimeError("there is no authority before load()")
        return self._state.serving

    @property
    def trusted(self) -> Trusted:
        """What to verify others with."""
        return self._trusted

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with what is plugged in."""
        return (*self._problems.values(), *self._ageing())

    def _ageing(self) -> Iterator[Problem]:
        """What is plugged in and ends soon: nobody but its owner can renew it."""
        found, now = self._plugged, clock.now()
        if found is None:
            return
        for name, begins, ends in plugged.spans(found):
            if now >= ends - (ends - begins) * _SOON:
                at = At(kind="Secret", namespace=self._namespace, name=PLUGGED, field=f"data[{name}]")
                message = f"it is good until {ends:%F %T} UTC and no longer."
                hint = "Renew it before: everybody refuses everybody then."
                yield Problem(AUTHORITY_UNUSABLE, Severity.WARNING, at, message, hint)

    # -- work -----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read what there is, make what is missing; waits for as long as what is plugged in cannot be used."""
        record = await self._get(RECORD)
        self._take_record(record)
        while True:
            for name in (PLUGGED, OWN):
                self._take(name, await self._get(name))
            if self._plugged is None and self._secrets[PLUGGED].data is None and self._ours is None:
                await self._make(None)
            if await self._agree():
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def run(self) -> None:
        """Follow the Secrets, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for name in (PLUGGED, OWN, RECORD):
                tasks.create_task(self._follow(name))
            tasks.create_task(self._go_on())
            if self._own.every > timedelta():
                tasks.create_task(self._renew())

    async def _follow(self, name: str) -> None:
        changes: Any = self._kube.reflect(SECRETS, namespace=self._namespace, fields=f"metadata.name={name}")
        async for change in changes:
            match change:
                case Applied(secret) | Replaced((secret,)):
                    found: Json | None = secret
                case Deleted() | Replaced():
                    found = None
                case _:
                    continue
            if name == RECORD:
                self._take_record(found)
            else:
                self._take(name, found)
            self._wake.set()

    async def _go_on(self) -> None:
        known: tuple[Problem, ...] = ()
        while True:
            await self._pause()
            self._wake.clear()
            try:
                await self._agree()
                if self.problems != known:
                    known = self.problems
                    self._troubled()
            except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
                log.warning("the roots cannot be recorded, all stays as it is: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()

    async def _pause(self) -> None:
        """Until something changes, or time has."""
        state = self._state
        seconds = _LOOK_SECONDS
        if state is None or state.is_over:
            leaving = [root.until for root in self._roots if root.until]
            # no timer is trusted for longer than an hour: clocks are set, machines sleep
            seconds = min([3600.0, *((when - clock.now()).total_seconds() for when in leaving)])
        try:
            async with asyncio.timeout(max(_LOOK_SECONDS, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _agree(self) -> bool:
        """Go on, from what another replica recorded where it was faster. Whether there is an authority at all."""
        try:
            return await self._advance()
        except ApiError as error:
            if error.code != 409:
                raise
        self._take_record(await self._get(RECORD))
        return await self._advance()

    async def _advance(self) -> bool:
        """Go on from what there is now. Whether there is an authority at all."""
        async with self._lock:
            wanted = self._wanted()
            if wanted is None:
                return False
            before = self._state
            signer = before.signer if before else None
            if signer and (signer.revoked or wanted.revoked):
                signer, wanted = self._with_lists(signer), self._with_lists(wanted)
            confirmed = before is not None and self._is_introduced(before, wanted) and await self._is_confirmed()
            state = succession.advance(
                self._roots, signer, wanted, now=clock.now(), confirmed=confirmed, lifetime=self._lifetime
            )
            if state.roots != self._roots:
                await self._record(state.roots)
            self._state, self._roots = state, state.roots
            self._say_what(before, state)
            if (trusted := state.trusted) != self._trusted:
                self._trusted = trusted
                if before is not None:
                    await self._told(trusted)
            elif before is not None and before.signer is not state.signer:
                await self._told(trusted)
            return True

    def _is_introduced(self, before: Succession, wanted: Authority) -> bool:
        return before.wanted is wanted and not before.is_over

    def _say_what(self, before: Succession | None, state: Succession) -> None:
        name = state.wanted.roots[0].subject.rfc4514_string()
        serial = f"{state.wanted.roots[0].serial_number:x}"
        if state.is_over and (before is None or before.signer is not state.signer):
            source = PLUGGED if self._plugged is state.signer else OWN
            log.info("the authority is that of Secret %s/%s", self._namespace, source)
            log.info("certificates are of the root %s (%s)", name, serial)
        elif not state.is_over and (before is None or before.wanted is not state.wanted):
            log.info("the root %s (%s) is made known; it is used once everybody trusts it", name, serial)
        if before:
            for root in {one.certificate for one in before.roots} - {one.certificate for one in state.roots}:
                log.info(
                    "the root %s (%x) is no longer trusted", root.subject.rfc4514_string(), root.serial_number
                )

    async def _is_confirmed(self) -> bool:
        """Whether all proxies trust both; where other replicas have proxies too, nobody knows but time."""
        if not self._confirmed():
            return False
        try:
            pods = await self._kube.list(PODS, self._namespace, labels="app=istiod")
        except (ApiError, aiohttp.ClientError, OSError, TimeoutError):
            return False
        running = [each for each in pods if (each.get("status") or {}).get("phase") in {"Pending", "Running"}]
        return len(running) <= 1

    # -- which authority there is to be ---------------------------------------------------------------------------

    @property
    def _plugged(self) -> Authority | None:
        return self._secrets[PLUGGED].authority

    @property
    def _ours(self) -> Authority | None:
        return self._secrets[OWN].authority

    def _wanted(self) -> Authority | None:
        """What is plugged in, else our own. What was plugged in stays until the next start where it is gone."""
        if self._secrets[PLUGGED].data is None:
            return self._plugged or self._ours
        return self._plugged

    def _take(self, name: str, secret: Json | None) -> None:
        found = self._secrets[name]
        data = None if secret is None else _data(secret)
        if data == found.data and found.version:
            return
        if data is None and found.data is not None and name == PLUGGED:
            log.warning("Secret %s is gone; what it held is used on, until istiod starts again", PLUGGED)
        found.data = data
        found.version = "" if secret is None else str(secret["metadata"].get("resourceVersion", "0"))
        if data is None:
            return
        try:
            read = plugged.read(data, clock.now())
            self._check(name, read)
        except PluggedError as error:
            self._say(name, error)
            return
        self._problems.pop(name, None)
        found.authority = read

    def _check(self, name: str, read: Authority) -> None:
        """Refuse what does not go together with what is in force."""
        trusted = [root.certificate for root in self._roots]
        present = self._state.signer if self._state else None
        for one in (read, *([present] if present else [])):
            if why := plugged.confusing(one, (*read.roots, *trusted)):
                raise PluggedError(plugged.ISTIO.roots, *why)
        if name == PLUGGED and present and present.revoked and not read.revoked and _is_other(present, read):
            reason = "it is missing, while the CA in force has one"
            raise PluggedError(
                plugged.REVOKED, reason, "Add the new CA's lists, even empty ones: the old would be lost"
            )

    def _say(self, name: str, error: PluggedError) -> None:
        at = At(kind="Secret", namespace=self._namespace, name=name, field=f"data[{error.field}]")
        stays = "The CA before it stays in force." if self._state else "istiod waits for one that it can use."
        problem = Problem(AUTHORITY_UNUSABLE, Severity.ERROR, at, f"{error.reason}.", f"{error.hint}. {stays}")
        if self._state is None and self._problems.get(name) != problem:
            log.error("%s", problem)  # nobody looks at problems yet
        self._problems[name] = problem

    def _with_lists(self, one: Authority) -> Authority:
        """With a list of nobody where it has none: our own never revoke, and others beside them may have lists."""
        if one.revoked or one.path:
            return one
        empty = revocation.nothing_revoked(one.certificate, one.key, now=clock.now())
        listed = replace(one, revoked=(empty,))
        for found in self._secrets.values():
            if found.authority is one:
                found.authority = listed
        return listed

    # -- our own --------------------------------------------------------------------------------------------------

    async def _make(self, old: _Found | None) -> None:
        """A new authority of our own, in place of an old one where there is one. Another replica may be faster."""
        made = self._own.make(clock.now())
        secret = _to_secret(made, self._namespace)
        try:
            if old is None:
                written = await self._kube.create(SECRETS, secret, self._namespace)
            else:
                secret["metadata"]["resourceVersion"] = old.version
                written = await self._kube.patch(SECRETS, OWN, secret, self._namespace)
        except ApiError as error:
            if error.code != 409:
                raise
            written = await self._kube.get(SECRETS, OWN, self._namespace)
        else:
            log.info("made a new authority, kept in Secret %s/%s", self._namespace, OWN)
        self._take(OWN, written)

    async def _renew(self) -> None:
        """Have the next one made while the present one of our own has a part of its life left."""
        jitter = random.random()  # noqa: S311 -- spreads replicas, no secret
        while True:
            await asyncio.sleep(self._own.every.total_seconds())
            await _unless_out_of_reach(self.renew_if_old, jitter)

    async def renew_if_old(self, jitter: float = 0.0) -> bool:
        """Make the next authority of our own where it is due, and say whether it was."""
        ours = self._secrets[OWN]
        in_use = self._plugged is None and ours.authority is not None
        if (
            not in_use
            or ours.authority is None
            or not self._own.is_old(ours.authority.certificate, clock.now(), jitter)
        ):
            return False
        await self._make(ours)
        self._wake.set()
        return True

    # -- the record -----------------------------------------------------------------------------------------------

    def _take_record(self, secret: Json | None) -> None:
        version = "" if secret is None else str(secret["metadata"].get("resourceVersion", "0"))
        if version == self._record_version:
            return
        if secret is None:
            # whoever deletes it wants the roots gone that nobody signs by any more
            self._record_version, self._roots = "", ()
            return
        try:
            self._roots = succession.loaded(_data(secret).get(_RECORD_KEY, b"").decode())
            self._record_version = version
        except ValueError as error:
            log.warning("Secret %s is written anew: %s", RECORD, error)

    async def _record(self, roots: tuple[Root, ...]) -> None:
        data = {_RECORD_KEY: base64.b64encode(succession.dumped(roots).encode()).decode()}
        metadata: Json = {"name": RECORD, "namespace": self._namespace}
        if self._record_version:
            metadata["resourceVersion"] = self._record_version
            written = await self._kube.patch(
                SECRETS, RECORD, {"metadata": metadata, "data": data}, self._namespace
            )
        else:
            secret = {"metadata": metadata, "type": "weft.dev/trusted-roots", "data": data}
            written = await self._kube.create(SECRETS, secret, self._namespace)
        self._record_version = str(written["metadata"].get("resourceVersion", "0"))

    async def _get(self, name: str) -> Json | None:
        try:
            return await self._kube.get(SECRETS, name, self._namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise


async def _unless_out_of_reach(work: Callable[[float], Awaitable[Any]], jitter: float) -> None:
    try:
        await work(jitter)
    except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
        log.warning("the authority cannot be renewed yet: %s", error)


def _is_other(one: Authority, another: Authority) -> bool:
    return one.roots[0] != another.roots[0]


def _data(secret: Json) -> Data:
    found: dict[str, bytes] = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            found[key] = base64.b64decode(value, validate=True)
        except ValueError:
            found[key] = b""
    return found


def _to_secret(made: Authority, namespace: str) -> Json:
    text = {
        plugged.ISTIO.certificate: pem.certificate(made.certificate),
        plugged.ISTIO.key: pem.key(made.key),
        plugged.ISTIO.roots: pem.certificates(made.roots),
        plugged.ISTIO.chain: "",
        "key.pem": "",
    }
    return {
        "metadata": {"name": OWN, "namespace": namespace},
        "type": TYPE,
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in text.items()},
    }
