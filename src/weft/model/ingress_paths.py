"""The paths of Ingresses: how each is asked, in which order, and where its requests go."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from weft.api import codes
from weft.api.ingress import Backend
from weft.api.report import Report
from weft.api.shape import PortSelector
from weft.api.virtual_service import (
    Destination,
    DirectResponse,
    HttpDestination,
    HttpMatch,
    HttpRoute,
    StringMatch,
)
from weft.base.problem import At, Problem

_WILDCARD: Final = "*."
_UNAVAILABLE: Final = 503
# a path of Prefix means itself and what is below it, not what merely begins with its letters
_BELOW: Final = "((/).*)?"


@dataclass(frozen=True, slots=True)
class Entry:
    """A path of a host and its backend. Without `path` it takes what no path of the host has taken.

    `path` is its type and itself; `hostname` is the Service's full name, empty for what is no Service; `port` is 0
    where the Service has no port of the name that is asked for.
    """

    at: At
    gateway: str
    host: str
    path: tuple[str, str] | None
    backend: Backend
    hostname: str
    port: int


def in_order(entries: Iterable[Entry]) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
    """The entries of a host in the order in which they are asked; and what is told of those that never are.

    The longest path first, Exact before the others (Kubernetes docs, Ingress: multiple matches), then the oldest.
    """
    kept: dict[tuple[str, str] | None, Entry] = {}
    problems: list[Problem] = []
    for each in entries:
        first = kept.setdefault(_alike(each), each)
        if first is not each and each.path is not None:
            whose = (
                "this Ingress" if first.at.name == each.at.name else f"Ingress {_named(first.at)}, which is older,"
            )
            message = f"is never asked: {whose} has the path {each.path[1] or '/'} of {each.host} already."
            hint = "Take one of them out, or give it a path of its own."
            problems.append(Report(each.at).warning(each.at.field, message, hint, codes.SHADOWED))
    return tuple(sorted(kept.values(), key=_rank)), tuple(problems)


def ingress_route(entry: Entry) -> HttpRoute:
    """The route of an entry; 503 where there is no such backend, so that no other is asked in its place."""
    match = _match(entry)
    if not entry.hostname or _lacks_port(entry):
        return HttpRoute(match=match, direct_response=DirectResponse(status=_UNAVAILABLE))
    target = Destination(host=entry.hostname, port=PortSelector(number=entry.port))
    return HttpRoute(match=match, route=(HttpDestination(destination=target),))


def refused(entry: Entry) -> Iterator[Problem]:
    """What is wrong with the backend of an entry by itself."""
    report, service = Report(entry.at), entry.backend.service
    if entry.backend.resource is not None or service is None:
        resource = entry.backend.resource
        what = f"{resource.kind} {resource.name}" if resource is not None else "nothing"
        message = f"{what} cannot be a backend, so requests are answered 503."
        yield report.error(f"{entry.at.field}.resource", message, "Name a Service under service.", codes.SCHEMA)
    elif _lacks_port(entry):
        message = f'there is no Service {service.name} with a port named "{service.port.name}": the answer is 503.'
        hint = "Name one of the ports of the Service, or write its number."
        yield report.error(f"{entry.at.field}.service.port.name", message, hint, codes.NOT_FOUND)


def _lacks_port(entry: Entry) -> bool:
    return not entry.port


def _match(entry: Entry) -> tuple[HttpMatch, ...]:
    uri, authority = _uri(entry.path), None
    if entry.host.startswith(_WILDCARD):
        # of one label, unlike a VirtualService's (Kubernetes docs, Ingress: hostname wildcards)
        authority = StringMatch(regex=rf"[^.]+\.{re.escape(entry.host.removeprefix(_WILDCARD))}(:\d+)?")
    return (HttpMatch(uri=uri, authority=authority),) if uri or authority else ()


def _uri(path: tuple[str, str] | None) -> StringMatch | None:
    match path:
        case None | ("Prefix", "" | "/") | (_, ""):
            return None
        case ("Exact", text):
            return StringMatch(exact=text)
        case ("Prefix", text):
            return StringMatch(regex=f"{re.escape(text.rstrip('/'))}{_BELOW}")
        case (_, text):
            # what Istio takes ImplementationSpecific for
            if text.endswith(".*"):
                return StringMatch(prefix=text.removesuffix(".*") or "/")
            if text.endswith("/*"):
                return _uri(("Prefix", text.removesuffix("/*")))
            return StringMatch(exact=text)


def _alike(entry: Entry) -> tuple[str, str] | None:
    """What entries have in common that take the same requests."""
    match entry.path:
        case ("Prefix", text):
            return "Prefix", text.rstrip("/")
        case other:
            return other


def _rank(entry: Entry) -> tuple[bool, int, bool]:
    if entry.path is None:
        return (True, 0, False)
    kind, text = entry.path
    return (False, -len(text.rstrip("/") if kind == "Prefix" else text), kind != "Exact")


def _named(at: At) -> str:
    return f"{at.namespace}/{at.name}"
