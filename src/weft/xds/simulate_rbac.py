"""What Envoy's RBAC filters make of a connection or a request (envoy.config.rbac.v3)."""

import ipaddress
from dataclasses import dataclass, field
from typing import Any, Final

from weft.xds.external_authorization import DRY_RUN, POLICY_ID
from weft.xds.proto import network_rbac_pb2, rbac_pb2
from weft.xds.simulate_match import ClientCertificate, Request, header_matches, string_matches

BODY: Final = b"RBAC: access denied"
"""What Envoy answers with 403."""
_RBAC: Any = rbac_pb2.RBAC


Names = tuple[str, ...]
Metadata = dict[str, Any]
"""Dynamic metadata, by the filter that left it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`denied` says by what, empty: it passes. `tried`: by the prefix of its statistics, whether it would pass.

    `metadata` is what shadow rules leave to the filters behind.
    """

    denied: str = ""
    tried: tuple[tuple[str, bool], ...] = ()
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a request when a filter looks at it. Its path is as the manager has made it alike."""

    manager: Any
    request: Request
    peer: Names
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class _Asked:
    """All that rules look at. `path` without its query; `requests`: no bare connection."""

    request: Request
    peer: Names
    remote: str
    path: str
    headers: dict[str, list[str]]
    metadata: Metadata
    requests: bool


def identity(shown: ClientCertificate | None) -> Names:
    """Who the peer is by its certificate: all URIs among its names, else all DNS names.

    A name of a rule may be any of them (Envoy, Principal.Authenticated).
    """
    names = shown.names if shown else ()
    found = (tuple(name for each, name in names if each == kind) for kind in ("URI", "DNS"))
    return next(filter(None, found), ())


def of_connection(packed: Any, request: Request, peer: Names) -> Verdict:
    """The verdict of one network filter."""
    config = network_rbac_pb2.RBAC.FromString(packed.value)
    return _verdict(config, _Asked(request, peer, request.source, "", {}, {}, requests=False))


def of_request(config: Any, known: Known) -> Verdict:
    """The verdict of one HTTP filter."""
    request = known.request
    headers = {
        ":method": [request.method],
        ":authority": [request.host],
        ":scheme": [request.scheme],
        ":path": [request.path],
    }
    for name, value in request.headers:
        headers.setdefault(name, []).append(value)
    path = request.path.partition("?")[0].partition("#")[0]
    remote = _remote(known.manager, request)
    return _verdict(config, _Asked(request, known.peer, remote, path, headers, known.metadata, requests=True))


def _remote(manager: Any, request: Request) -> str:
    """The client's address, behind proxies that are trusted (HttpConnectionManager, use_remote_address)."""
    told = ",".join(value for name, value in request.headers if name == "x-forwarded-for")
    listed = [each.strip() for each in told.split(",")]
    hops = manager.xff_num_trusted_hops
    wanted = hops if manager.use_remote_address.value else hops + 1
    found = listed[-wanted] if 0 < wanted <= len(listed) else ""
    return found if _is_address(found) else request.source


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _verdict(config: Any, asked: _Asked) -> Verdict:
    tried: tuple[tuple[str, bool], ...] = ()
    metadata: Metadata = {}
    if config.HasField("shadow_rules"):
        prefix = config.shadow_rules_stat_prefix
        denied, effective = _judged(config.shadow_rules, asked)
        if prefix.startswith(DRY_RUN):
            tried = ((prefix, not denied),)
        if effective:
            metadata = {f"{prefix}{POLICY_ID}": effective}
    return Verdict(_judged(config.rules, asked)[0] if config.HasField("rules") else "", tried, metadata)


def _judged(rules: Any, asked: _Asked) -> tuple[str, str]:
    """What denies it, and the first policy that is for it; either may be none."""
    fitting = next(iter(sorted(name for name, policy in rules.policies.items() if _fits(policy, asked))), "")
    match rules.action:
        case _RBAC.DENY:
            return fitting, fitting
        case _RBAC.LOG:
            return "", fitting
        case _:
            return "" if fitting else "no policy allows it", fitting


def _fits(policy: Any, asked: _Asked) -> bool:
    return any(_permitted(each, asked) for each in policy.permissions) and any(
        _is_one(each, asked) for each in policy.principals
    )


def _permitted(rule: Any, asked: _Asked) -> bool:
    request = asked.request
    match rule.WhichOneof("rule"):
        case "any":
            return bool(rule.any)
        case "and_rules":
            return all(_permitted(each, asked) for each in rule.and_rules.rules)
        case "or_rules":
            return any(_permitted(each, asked) for each in rule.or_rules.rules)
        case "not_rule":
            return not _permitted(rule.not_rule, asked)
        case "header":
            return _header_fits(rule.header, asked)
        case "url_path":
            return asked.requests and string_matches(rule.url_path.path, asked.path)
        case "destination_port":
            return bool(rule.destination_port == request.port)
        case "destination_ip":
            return _in_block(rule.destination_ip, request.address)
        case _:
            name = request.server_name.lower() if request.tls else ""
            return string_matches(rule.requested_server_name, name)


def _is_one(principal: Any, asked: _Asked) -> bool:
    match principal.WhichOneof("identifier"):
        case "any":
            return bool(principal.any)
        case "and_ids":
            return all(_is_one(each, asked) for each in principal.and_ids.ids)
        case "or_ids":
            return any(_is_one(each, asked) for each in principal.or_ids.ids)
        case "not_id":
            return not _is_one(principal.not_id, asked)
        case "authenticated":
            wanted = principal.authenticated.principal_name
            return any(string_matches(wanted, name) for name in asked.peer)
        case "direct_remote_ip":
            return _in_block(principal.direct_remote_ip, asked.request.source)
        case "remote_ip":
            return _in_block(principal.remote_ip, asked.remote)
        case "header":
            return _header_fits(principal.header, asked)
        case _:
            matcher = principal.metadata
            return bool(value_fits(matcher.value, found_at(matcher, asked.metadata)) != matcher.invert)


def found_at(matcher: Any, metadata: Metadata) -> Any:
    """The value that a MetadataMatcher looks at, None if there is none."""
    value: Any = metadata.get(matcher.filter)
    for segment in matcher.path:
        value = value.get(segment.key) if isinstance(value, dict) else None
    return value


def _header_fits(matcher: Any, asked: _Asked) -> bool:
    """Of a header that comes several times, one value has to fit."""
    return any(header_matches(matcher, each) for each in asked.headers.get(matcher.name, (None,)))


def value_fits(matcher: Any, value: Any) -> bool:
    """Whether a ValueMatcher takes a value."""
    match matcher.WhichOneof("match_pattern"):
        case "string_match":
            return isinstance(value, str) and string_matches(matcher.string_match, value)
        case "list_match":
            entries = value if isinstance(value, list) else ()
            return any(value_fits(matcher.list_match.one_of, each) for each in entries)
        case "or_match":
            return any(value_fits(each, value) for each in matcher.or_match.value_matchers)
        case _:
            return value is not None


def _in_block(block: Any, address: str) -> bool:
    network = ipaddress.ip_network(f"{block.address_prefix}/{block.prefix_len.value}", strict=False)
    return bool(address) and ipaddress.ip_address(address) in network
