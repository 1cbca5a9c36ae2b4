"""Pods that run, looked into for the rules that should be there, and these put in place.

It blocks: run it in a thread. The namespaces are found in the machine's /proc, once for all pods of a turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weft.adapters import procfs
from weft.adapters.redirection import Backend
from weft.processes.cni import capturing
from weft.redirect import pod as redirection_of
from weft.redirect.flags import Host
from weft.redirect.plan import plan

Json = dict[str, Any]

_ROUTING: Final = "ip -"
"""How what is missing begins where it is no rule, but a route or an address."""


@dataclass(frozen=True, slots=True)
class Whole:
    """Nothing is missing."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """What is missing, a line for each rule, route or address; `bare` where no rule is there at all."""

    lines: tuple[str, ...]
    bare: bool


@dataclass(frozen=True, slots=True)
class Mended:
    """What was missing, and is there now."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unseen:
    """No process of the pod with a network of its own is there to be found: it may be about to begin or to end."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It could not be looked into, or not mended; the message says why."""

    message: str


Found = Whole | Lacking | Mended | Unseen | Failed


def look(pods: Sequence[Json], proc: Path, how: Backend, *, mend: bool) -> Mapping[str, Found]:
    """What is found of each pod, by UID; `mend`: what is missing is put in place."""
    uids = {str(pod["metadata"]["uid"]) for pod in pods}
    try:
        with procfs.network_namespaces(uids, proc) as namespaces:
            return {
                (uid := str(pod["metadata"]["uid"])): _look(pod, namespaces.get(uid), how, mend=mend)
                for pod in pods
            }
    except OSError as error:
        why = f"{error}. The node process needs the host's /proc at {proc}, and the capability SYS_PTRACE"
        return dict.fromkeys(uids, Failed(why))


def _look(pod: Json, namespace: str | None, how: Backend, *, mend: bool) -> Found:
    if namespace is None:
        return Unseen()
    try:
        lines = capturing.missing(pod, namespace, how)
        if not lines or _is_captured_otherwise(pod, namespace, how):
            return Whole()
        if not mend:
            return Lacking(lines, sum(not line.startswith(_ROUTING) for line in lines) >= _rules(pod))
        capturing.apply(pod, namespace, how)
    except capturing.Errors as error:
        return Failed(str(error))
    return Mended(lines)


def _is_captured_otherwise(pod: Json, namespace: str, how: Backend) -> bool:
    """Whether the other kind of rules does it: the pod is older than the choice of kinds."""
    try:
        return not capturing.missing(pod, namespace, capturing.backend(native=not how.native))
    except capturing.Errors:
        return False


def _rules(pod: Json) -> int:
    """How many rules the pod asks for, of IPv4 alone."""
    wanted = plan(redirection_of.capture(pod, Host()))
    return sum(rule.concerns(4) for rule in wanted.rules)
