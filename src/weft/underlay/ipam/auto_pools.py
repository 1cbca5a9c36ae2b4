"""Pools that are made of subnets for one application: how they are named, labelled and found again."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from weft.underlay.addresses import Version
from weft.underlay.ipam.annotations import PREFIX, SUBNET, SUBNETS, InvalidAnnotationError, Named, Names
from weft.underlay.ipam.pools import Pool

T = TypeVar("T")

NUMBER: Final = f"{PREFIX}ippool-ip-number"
RECLAIM: Final = f"{PREFIX}ippool-reclaim"
"""Annotation, and label of the pool: whether it goes with its application."""
OWNER_SUBNET: Final = f"{PREFIX}owner-spider-subnet"
_OWNER: Final = f"{PREFIX}owner-application-"
_INTERFACE: Final = f"{PREFIX}interface"
_VERSION: Final = f"{PREFIX}ip-version"
_APP: Final = f"{PREFIX}app-"
APP_NAMESPACE: Final = f"{_APP}namespace"

_GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "DaemonSet": ("apps", "v1"),
    "Deployment": ("apps", "v1"),
    "Job": ("batch", "v1"),
    "ReplicaSet": ("apps", "v1"),
    "StatefulSet": ("apps", "v1"),
}
KINDS: Final = frozenset(_GROUPS)
"""Applications that pools are made for."""
_LONGEST_NAME: Final = 253
_LONGEST_LABEL: Final = 63


@dataclass(frozen=True, slots=True)
class Application:
    """Who has pods: how many there are to be, and what its pods are annotated with."""

    kind: str
    namespace: str
    name: str
    uid: str
    pods: int = 0
    annotations: Mapping[str, str] | None = None

    @property
    def text(self) -> str:
        """As the status of a subnet has it."""
        group, version = _GROUPS[self.kind]
        return f"{group}/{version}:{self.kind}:{self.namespace}:{self.name}"


@dataclass(frozen=True, slots=True)
class Ask:
    """One pool that an application asks for. `subnets` are tried in their order."""

    interface: str
    version: Version
    subnets: tuple[str, ...]
    addresses: int
    reclaimed: bool


def asks(application: Application, flexible: int) -> Iterator[Ask]:
    """The pools that the annotations of its pods ask for; InvalidAnnotationError where they cannot be followed."""
    noted = application.annotations or {}
    listed = list(_listed(noted))
    if not listed:
        return
    number, reclaimed = _number(noted, application.pods, flexible), noted.get(RECLAIM, "true") != "false"
    for interface, names in listed:
        if names.ipv4:
            yield Ask(interface, 4, names.ipv4, number, reclaimed)
        if names.ipv6:
            yield Ask(interface, 6, names.ipv6, number, reclaimed)


def pool_name(application: Application, ask: Ask) -> str:
    """The name of a pool: one and the same for the same application, interface and version."""
    end = f"-{ask.interface}-{application.uid.rpartition('-')[2][-5:].lower()}"
    return f"auto{ask.version}-{application.name}"[: _LONGEST_NAME - len(end)] + end


def pool_labels(application: Application, ask: Ask, subnet: str) -> dict[str, str]:
    """What a pool is found by. Values that are too long for a label are left out."""
    group, version = _GROUPS[application.kind]
    labels = {
        _INTERFACE: ask.interface,
        _VERSION: f"IPv{ask.version}",
        RECLAIM: str(ask.reclaimed).lower(),
        OWNER_SUBNET: subnet,
        f"{_OWNER}gv": f"{group}_{version}",
        f"{_OWNER}kind": application.kind,
        f"{_OWNER}namespace": application.namespace,
        f"{_OWNER}name": application.name,
        f"{_OWNER}uid": application.uid,
    }
    return {key: value for key, value in labels.items() if len(value) <= _LONGEST_LABEL}


def owner_labels(kind: str, namespace: str, name: str) -> dict[str, str]:
    """What `podAffinity` of such a pool asks of pods: not labels that they have, but whose they are."""
    group, version = _GROUPS.get(kind, ("", ""))
    return {
        f"{_APP}api-group": group,
        f"{_APP}api-version": version,
        f"{_APP}kind": kind,
        APP_NAMESPACE: namespace,
        f"{_APP}name": name,
    }


def owner_uid(labels: Mapping[str, str]) -> str:
    """The UID of the application that a pool was made for; "" for pools that people made."""
    return labels.get(f"{_OWNER}uid", "")


def owner_text(labels: Mapping[str, str]) -> str | None:
    """The application that a pool was made for, as the status of a subnet has it."""
    if not owner_uid(labels):
        return None
    gv = labels.get(f"{_OWNER}gv", "").replace("_", "/")
    return ":".join((gv, *(labels.get(f"{_OWNER}{key}", "") for key in ("kind", "namespace", "name"))))


def is_reclaimed(labels: Mapping[str, str]) -> bool:
    """Whether a pool goes with its application."""
    return labels.get(RECLAIM, "true") != "false"


def made_for(named: Named, pools: Iterable[Pool], owner: tuple[str, str, str], number: int) -> Named | None:
    """The pools that were made of the subnets named, for this `owner` (kind, namespace, name) of pods.

    `number` is the interface's place (from 0) among those that ask. None while one of them is not made yet.
    """
    names = named.names
    place = _place(0 if named.annotation == SUBNET else number)
    wanted = {
        f"{_OWNER}kind": owner[0],
        f"{_OWNER}namespace": owner[1],
        f"{_OWNER}name": owner[2],
        _INTERFACE: names.interface or place,
    }
    fitting = [each for each in pools if not each.terminating and _has(each.labels, wanted)]
    found: dict[Version, tuple[str, ...] | None] = {}
    versions: tuple[tuple[Version, tuple[str, ...] | None], ...] = ((4, names.ipv4), (6, names.ipv6))
    for version, subnets in versions:
        of_it = (each for each in fitting if each.version == version)
        made = tuple(each.name for each in of_it if each.labels.get(OWNER_SUBNET) in (subnets or ()))
        if subnets and not made:
            return None
        found[version] = made or None
    chosen = Names(names.interface, found[4], found[6], names.cleangateway)
    return Named(named.annotation, chosen)


def _has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items() if len(value) <= _LONGEST_LABEL)


def _place(number: int) -> str:
    """What an interface is called at a place, where nobody names it."""
    return f"net{number}" if number else "eth0"


def _listed(noted: Mapping[str, str]) -> Iterator[tuple[str, Names]]:
    """Interfaces and the subnets of each. Those without a name are eth0, net1, … by their place."""
    if SUBNETS in noted:
        unnamed = 0
        for each in _decoded(noted, SUBNETS, tuple[Names, ...]):
            yield each.interface or _place(unnamed), each
            unnamed += not each.interface
    elif SUBNET in noted:
        names = _decoded(noted, SUBNET, Names)
        yield names.interface or _place(0), names


def _decoded(noted: Mapping[str, str], key: str, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(noted[key], type=shape)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidAnnotationError(f"annotation {key}: {error}.") from None


def _number(noted: Mapping[str, str], pods: int, flexible: int) -> int:
    """How many addresses: as many as written, or as there are pods and so many more."""
    written = noted.get(NUMBER, f"+{flexible}").strip()
    digits = written.removeprefix("+")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 6):
        raise InvalidAnnotationError(
            f'annotation {NUMBER}: "{written}" is no number. Write 5 for so many, or +2 for two more than pods.'
        )
    return pods + int(digits) if written.startswith("+") else int(digits)
