"""Which filter chain of a listener takes a connection, as Envoy chooses it.

Envoy narrows the chains criterion by criterion, in a fixed order, each time to the ones whose value is the most
telling that fits, and never goes back (envoy.config.listener.v3.FilterChainMatch).
"""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from weft.xds.simulate_match import Request

HTTP_INSPECTOR = "envoy.filters.listener.http_inspector"
TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"
_ANY = -1
"""The rank of a chain that does not ask."""


def filter_chain(listener: Any, request: Request) -> Any | None:
    """The FilterChain that takes the request's connection, the default one where none fits; None: it is closed."""
    inspectors = {each.name for each in listener.listener_filters if not _is_disabled(each, request.port)}
    left = list(listener.filter_chains)
    for rank in (
        _by_port(request),
        _by_address(request.address, "prefix_ranges"),
        _by_name(request.server_name if TLS_INSPECTOR in inspectors else ""),
        _by_transport("tls" if request.tls and TLS_INSPECTOR in inspectors else "raw_buffer"),
        _by_protocols(_protocols(request, inspectors)),
        _by_address(request.source, "source_prefix_ranges"),
    ):
        left = _most_telling(left, rank)
    if left:
        return left[0]
    return listener.default_filter_chain if listener.HasField("default_filter_chain") else None


def _is_disabled(listener_filter: Any, port: int) -> bool:
    if not listener_filter.HasField("filter_disabled"):
        return False
    predicate = listener_filter.filter_disabled
    either = predicate.or_match.rules if predicate.HasField("or_match") else [predicate]
    ranges = (each.destination_port_range for each in either)
    return any(each.start <= port < each.end for each in ranges)


def _protocols(request: Request, inspectors: set[str]) -> tuple[str, ...]:
    """What the inspectors learn of the protocols on the connection."""
    if request.tls:
        return request.protocols if TLS_INSPECTOR in inspectors else ()
    return (request.protocols or ("http/1.1",)) if request.http and HTTP_INSPECTOR in inspectors else ()


def _most_telling(chains: Iterable[Any], rank: Callable[[Any], int | None]) -> list[Any]:
    ranked = [(found, each) for each in chains if (found := rank(each.filter_chain_match)) is not None]
    best = max((found for found, _ in ranked), default=_ANY)
    return [each for found, each in ranked if found == best]


def _by_port(request: Request) -> Callable[[Any], int | None]:
    def rank(match: Any) -> int | None:
        if not match.HasField("destination_port"):
            return _ANY
        return 1 if match.destination_port.value == request.port else None

    return rank


def _by_address(address: str, field: str) -> Callable[[Any], int | None]:
    def rank(match: Any) -> int | None:
        ranges = getattr(match, field)
        if not ranges:
            return _ANY
        if not address:
            return None
        wanted = ipaddress.ip_address(address)
        networks = (
            ipaddress.ip_network(f"{each.address_prefix}/{each.prefix_len.value}", strict=False) for each in ranges
        )
        return max((each.prefixlen for each in networks if wanted in each), default=None)

    return rank


def _by_name(server_name: str) -> Callable[[Any], int | None]:
    wanted = server_name.lower()

    def rank(match: Any) -> int | None:
        if not match.server_names:
            return _ANY
        return max(
            (found for each in match.server_names if (found := _name_rank(each, wanted)) is not None), default=None
        )

    return rank


def _name_rank(pattern: str, name: str) -> int | None:
    if pattern == name:
        return len(name) + 1
    # a wildcard stands for one part or more of the name
    fits = pattern.startswith("*.") and name.endswith(pattern[1:]) and len(name) > len(pattern) - 1
    return len(pattern) - 1 if fits else None


def _by_transport(transport: str) -> Callable[[Any], int | None]:
    def rank(match: Any) -> int | None:
        if not match.transport_protocol:
            return _ANY
        return 1 if match.transport_protocol == transport else None

    return rank


def _by_protocols(protocols: tuple[str, ...]) -> Callable[[Any], int | None]:
    """The client's first protocol that some chain names wins."""

    def rank(match: Any) -> int | None:
        if not match.application_protocols:
            return _ANY
        places = [index for index, each in enumerate(protocols) if each in match.application_protocols]
        return len(protocols) - places[0] if places else None

    return rank
