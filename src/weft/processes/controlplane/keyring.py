"""Kubernetes Secrets for proxies: looked for when one asks, and given to none that may not read them.

A proxy names what it wants over its configuration stream: `kubernetes://NAME` is a certificate with its key,
`kubernetes://NAME-cacert` what others are verified with. Gateways ask for what Gateways name, and any proxy for
what a DestinationRule names that selects it. Only Secrets of its own namespace come into question, and only where
its service account may get them, or may have them served: the right to `get` the subresource `secrets/served`,
which lets nobody read a Secret from the API server. No other Secret is ever read, and the mesh's authority, tokens
and their like are served to nobody, whatever their rights.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import SECRETS, SUBJECTACCESSREVIEWS
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.model.credentials import CredentialTrouble
from weft.pki import credentials
from weft.pki.credentials import CA_SUFFIX, CredentialError
from weft.processes.controlplane import succession
from weft.processes.controlplane.connection import Connection
from weft.xds import secrets
from weft.xds.resource import Resource

SERVED = "served"
"""The subresource of Secrets, known to RBAC alone, that stands for having them served by istiod."""
_AUTHORITY = frozenset({succession.OWN, succession.PLUGGED})
"""Secrets of istiod's namespace that hold the key of the mesh."""
_NEVER = frozenset({succession.TYPE, "kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})
"""Types of Secrets that no proxy has a use for."""
_OWN, _GATEWAYS = "kubernetes://", "kubernetes-gateway://"
_ALLOWED_SECONDS, _DENIED_SECONDS = 60.0, 3.0
"""How long an answer of the API server about someone's rights holds; a refusal that stays, longer each time."""
_MOST = 2000
"""Secrets that one proxy may ask for."""
_AT_ONCE = 8
"""Questions about one account's rights that are under way."""

log = logging.getLogger("weft.secrets")


class _Metadata(msgspec.Struct):
    name: str


class _Secret(msgspec.Struct):
    """The part of a Secret that is read."""

    metadata: _Metadata
    data: dict[str, str] | None = None
    type: str = ""


@dataclass(frozen=True, slots=True, order=True)
class _Place:
    """One Secret."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, order=True)
class _Right:
    """That of a service account to one Secret of its namespace."""

    account: str
    place: _Place


@dataclass(slots=True)
class _Held:
    """What is known of something that is looked at for as long as somebody asks. `value` is None at first."""

    task: asyncio.Task[None]
    value: Any = None


_REFUSED: Mapping[str, str] = {}
"""The data of a Secret of a type that is served to nobody."""
_ABSENT: Mapping[str, str] = {}
"""The data of a Secret that there is not; one that there is has a mapping of its own, even an empty one."""


class Keyring:
    """What proxies are served of their namespaces' Secrets. `changed` is called when there is other trouble.

    `system` is istiod's own namespace, where the mesh's authority is kept.
    """

    def __init__(self, kube: Kube, changed: Callable[[], None], system: str = "istio-system") -> None:
        self._kube, self._changed, self._system = kube, changed, system
        self._asked: dict[Connection, frozenset[str]] = {}
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))
        self._rights: dict[_Right, _Held] = {}
        self._watches: dict[_Place, _Held] = {}
        self._made: dict[tuple[_Place, str], tuple[Mapping[str, str], Resource | str]] = {}
        self._troubles: dict[Connection, tuple[CredentialTrouble, ...]] = {}

    def ask(self, connection: Connection) -> None:
        """Look for what the connection asks for, from now on."""
        names = connection.asked_secrets
        self._asked[connection] = names if len(names) <= _MOST else frozenset(sorted(names)[:_MOST])
        self._refresh()

    def leave(self, connection: Connection) -> None:
        """Forget what only this connection asked for."""
        if self._asked.pop(connection, None) is not None:
            self._refresh()

    @property
    def troubles(self) -> tuple[CredentialTrouble, ...]:
        """Why proxies do not have what they ask for, in stable order."""
        return tuple(sorted({each for one in self._troubles.values() for each in one}))

    # -- what is looked at --------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        wanted = {
            _Right(_account(connection), place)
            for connection, names in self._asked.items()
            for name in names
            for place in self._places(connection, name)
        }
        _keep(self._rights, wanted, self._judge)
        # a Secret that nobody may read is not looked at either
        _keep(self._watches, {right.place for right in self._rights if self._rights[right].value}, self._follow)
        self._made = {key: made for key, made in self._made.items() if key[0] in self._watches}
        before = self.troubles
        self._troubles = {connection: self._answer(connection, names) for connection, names in self._asked.items()}
        if self.troubles != before:
            for trouble in set(self.troubles) - set(before):
                log.warning("%s", trouble)
            self._changed()

    async def _judge(self, right: _Right) -> None:
        denied_seconds = _DENIED_SECONDS
        while True:
            try:
                async with self._turns[right.account]:
                    allowed = await self._may(right)
            except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
                log.warning("whether %s may read Secrets is not known: %s", right.account, error)
                await asyncio.sleep(_DENIED_SECONDS)
                continue
            if self._rights[right].value != allowed:
                self._rights[right].value = allowed
                self._refresh()
            await asyncio.sleep(_ALLOWED_SECONDS if allowed else denied_seconds)
            denied_seconds = _DENIED_SECONDS if allowed else min(2 * denied_seconds, _ALLOWED_SECONDS)

    async def _may(self, right: _Right) -> bool:
        return await self._has(right, SERVED) or await self._has(right, "")

    async def _has(self, right: _Right, subresource: str) -> bool:
        namespace = right.place.namespace
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        what = {"namespace": namespace, "verb": "get", "resource": "secrets", "name": right.place.name}
        what |= {"subresource": subresource} if subresource else {}
        spec = {"user": right.account, "groups": list(groups), "resourceAttributes": what}
        body = {"apiVersion": SUBJECTACCESSREVIEWS.api_version, "kind": SUBJECTACCESSREVIEWS.kind, "spec": spec}
        answer = await self._kube.post(SUBJECTACCESSREVIEWS.path(), body)
        return bool((answer.get("status") or {}).get("allowed"))

    async def _follow(self, place: _Place) -> None:
        changes: Any = self._kube.reflect(
            SECRETS, decode=_Secret, namespace=place.namespace, fields=f"metadata.name={place.name}"
        )
        async for change in changes:
            self._watches[place].value = _data(change)
            self._refresh()

    # -- what is answered ---------------------------------------------------------------------------------------

    def _answer(self, connection: Connection, names: Iterable[str]) -> tuple[CredentialTrouble, ...]:
        """Give the connection what is known, and say what is wrong with the rest."""
        found: dict[str, Resource] = {}
        troubles: dict[str, CredentialTrouble] = {}
        for name in names:
            match self._secret(connection, name):
                case Resource() as secret:
                    found[name] = secret
                case str(reason):
                    labels = connection.client.node.metadata.get("LABELS") or {}
                    troubles[name] = CredentialTrouble.of(name, reason, labels)
                case None:
                    pass
        connection.give(found, frozenset(troubles) | (connection.asked_secrets - self._asked[connection]))
        return tuple(troubles.values())

    def _secret(self, connection: Connection, name: str) -> Resource | str | None:
        """The secret of a name, why there is none, or None while that is not known."""
        places = self._places(connection, name)
        if not places:
            return _why_never(connection, name)
        reason = ""
        for place in places:
            allowed = self._rights[_Right(_account(connection), place)].value
            if allowed is None:
                return None
            if not allowed:
                reason = f"its service account {_account(connection)} may not get the Secret {_shown(place)}"
                continue
            data = self._watches[place].value if place in self._watches else None
            if data is None:
                return None
            if data is _REFUSED:
                return f"the Secret {_shown(place)} is of a type that no proxy is given"
            if data is not _ABSENT:
                return self._read(place, name, data)
            reason = f"there is no Secret {_shown(place)}"
        return reason

    def _places(self, connection: Connection, name: str) -> tuple[_Place, ...]:
        """The Secrets to look at for a name, in order; none where the proxy may not have it."""
        identity = connection.client.identity
        if identity is None:
            return ()
        scheme = next((one for one in (_OWN, _GATEWAYS) if name.startswith(one)), "")
        namespace, _, secret = name.removeprefix(scheme).rpartition("/")
        if not scheme or not secret or namespace not in {"", identity.namespace}:
            return ()
        names = (secret, secret.removesuffix(CA_SUFFIX)) if secret.endswith(CA_SUFFIX) else (secret,)
        if identity.namespace == self._system and not _AUTHORITY.isdisjoint(names):
            return ()
        return tuple(_Place(identity.namespace, each) for each in names)

    def _read(self, place: _Place, name: str, data: Mapping[str, str]) -> Resource | str:
        before = self._made.get((place, name))
        if before is not None and before[0] is data:
            return before[1]
        made: Resource | str
        try:
            made = _made(name, data)
        except CredentialError as error:
            made = f"the Secret {_shown(place)} cannot be used: {error}"
        self._made[place, name] = (data, made)
        return made


def _keep(held: dict[Any, _Held], wanted: set[Any], work: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """Begin the work on what is new among the wanted, and end it on what is no longer."""
    for key in held.keys() - wanted:
        held.pop(key).task.cancel()
    for key in wanted - held.keys():
        held[key] = _Held(asyncio.create_task(_logged(work(key), key)))


async def _logged(work: Coroutine[Any, Any, None], what: Hashable) -> None:
    try:
        await work
    except Exception:
        # our bug with one of them must not end the service for the others; no message of ours holds what is secret
        log.exception("%s is no longer followed", what)


def _data(change: Change[_Secret]) -> Mapping[str, str]:
    match change:
        case Applied(secret) | Replaced((secret,)):
            return _REFUSED if secret.type in _NEVER else dict(secret.data or {})
        case Deleted() | Replaced():
            return _ABSENT


def _made(name: str, data: Mapping[str, str]) -> Resource:
    if name.endswith(CA_SUFFIX):
        roots = credentials.roots_of(data)
        return secrets.roots(name, roots.certificates, roots.crl)
    pair = credentials.pair_of(data)
    return secrets.certificate(name, pair.chain, pair.key)


def _why_never(connection: Connection, name: str) -> str:
    if connection.client.identity is None:
        return "the proxy has not proved who it is: Secrets are given over TLS alone"
    namespace = connection.client.identity.namespace
    return f"{name} is no Secret of the proxy's own namespace, {namespace}, that proxies may have"


def _account(connection: Connection) -> str:
    """The user name that Kubernetes knows the proxy's service account by."""
    identity = connection.client.identity
    return f"system:serviceaccount:{identity.namespace}:{identity.service_account}" if identity else ""


def _shown(place: _Place) -> str:
    return f"{place.namespace}/{place.name}"
