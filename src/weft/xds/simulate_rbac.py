"""What Envoy's RBAC filters make of a connection or a request (envoy.config.rbac.v3)."""

import ipaddress
import json
from dataclasses import dataclass, replace
from typing import Any, Final

from weft.xds import claims
from weft.xds.authorization import HTTP_RBAC
from weft.xds.proto import http_rbac_pb2, network_rbac_pb2, rbac_pb2
from weft.xds.simulate_match import ClientCertificate, Request, header_matches, string_matches

BODY: Final = b"RBAC: access denied"
"""What Envoy answers with 403."""
_RBAC: Any = rbac_pb2.RBAC


@dataclass(frozen=True, slots=True)
class Verdict:
    """`denied` says by what, empty: it passes. `tried`: by the prefix of its statistics, whether it would pass."""

    denied: str = ""
    tried: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """All that rules look at. `path` without its query; `metadata` by filter; `requests`: no bare connection."""

    request: Request
    peer: str
    remote: str
    path: str
    headers: dict[str, list[str]]
    metadata: dict[str, Any]
    requests: bool


def identity(shown: ClientCertificate | None) -> str:
    """Who the peer is by its certificate: the first URI among its names, else the first DNS name."""
    names = shown.names if shown else ()
    return next((name for kind in ("URI", "DNS") for each, name in names if each == kind), "")


def of_connection(packed: Any, request: Request, peer: str) -> Verdict:
    """The verdict of one network filter."""
    config = network_rbac_pb2.RBAC.FromString(packed.value)
    return _verdict(config, _Asked(request, peer, request.source, "", {}, {}, requests=False))


def of_request(manager: Any, request: Request, peer: str) -> Verdict:
    """The verdict of all filters of a HttpConnectionManager, of which the first that denies answers.

    `request.path` is as the manager has made it alike.
    """
    headers = {
        ":method": [request.method],
        ":authority": [request.host],
        ":scheme": [request.scheme],
        ":path": [request.path],
    }
    for name, value in request.headers:
        headers.setdefault(name, []).append(value)
    metadata = {claims.METADATA: {claims.PAYLOAD: json.loads(request.claims)}} if request.claims else {}
    path = request.path.partition("?")[0].partition("#")[0]
    asked = _Asked(request, peer, _remote(manager, request), path, headers, metadata, requests=True)
    found = Verdict()
    for each in manager.http_filters:
        if each.name == HTTP_RBAC:
            verdict = _verdict(http_rbac_pb2.RBAC.FromString(each.typed_config.value), asked)
            found = replace(verdict, tried=(*found.tried, *verdict.tried))
            if found.denied:
                return found
    return found


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
    if config.HasField("shadow_rules"):
        tried = ((config.shadow_rules_stat_prefix, not _denied(config.shadow_rules, asked)),)
    return Verdict(_denied(config.rules, asked) if config.HasField("rules") else "", tried)


def _denied(rules: Any, asked: _Asked) -> str:
    fitting = sorted(name for name, policy in rules.policies.items() if _fits(policy, asked))
    match rules.action:
        case _RBAC.DENY:
            return fitting[0] if fitting else ""
        case _RBAC.LOG:
            return ""
        case _:
            return "" if fitting else "no policy allows it"


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
            return bool(asked.peer) and string_matches(principal.authenticated.principal_name, asked.peer)
        case "direct_remote_ip":
            return _in_block(principal.direct_remote_ip, asked.request.source)
        case "remote_ip":
            return _in_block(principal.remote_ip, asked.remote)
        case "header":
            return _header_fits(principal.header, asked)
        case _:
            matcher = principal.metadata
            value: Any = asked.metadata.get(matcher.filter)
            for segment in matcher.path:
                value = value.get(segment.key) if isinstance(value, dict) else None
            return bool(_value_fits(matcher.value, value) != matcher.invert)


def _header_fits(matcher: Any, asked: _Asked) -> bool:
    """Of a header that comes several times, one value has to fit."""
    return any(header_matches(matcher, each) for each in asked.headers.get(matcher.name, (None,)))


def _value_fits(matcher: Any, value: Any) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "string_match":
            return isinstance(value, str) and string_matches(matcher.string_match, value)
        case "list_match":
            entries = value if isinstance(value, list) else ()
            return any(_value_fits(matcher.list_match.one_of, each) for each in entries)
        case "or_match":
            return any(_value_fits(each, value) for each in matcher.or_match.value_matchers)
        case _:
            return value is not None


def _in_block(block: Any, address: str) -> bool:
    network = ipaddress.ip_network(f"{block.address_prefix}/{block.prefix_len.value}", strict=False)
    return bool(address) and ipaddress.ip_address(address) in network
