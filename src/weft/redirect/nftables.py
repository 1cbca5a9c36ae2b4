"""A plan as native nftables: tables of family inet for both IP versions, as JSON (libnftables-json(5)).

Tables and chains have the names that Istio gives them. The tables are the plan's own: a transaction replaces them
whole. Expressions are spelled as `nft --json list` spells them, so that what is there can be compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any, Final

from weft.redirect.capture import Network
from weft.redirect.rules import (
    Accept,
    ByGroup,
    ByUser,
    Chain,
    Change,
    ConnectionMarked,
    Destination,
    Drop,
    Enters,
    Established,
    Invalid,
    Jump,
    Leaves,
    Mark,
    Marked,
    Match,
    Plan,
    Redirect,
    RestoreMark,
    Return,
    Rule,
    SaveMark,
    Source,
    State,
    Table,
    Tcp,
    ToPort,
    ToPorts,
    Transparent,
    Transport,
    UdpFrom,
    UdpTo,
    Verdict,
    Version,
    Zone,
)

Json = dict[str, Any]

_FAMILY: Final = "inet"
# raw, mangle, dstnat (nft(8), standard priorities)
_PRIORITY: Final = {Table.RAW: -300, Table.MANGLE: -150, Table.NAT: -100}
_COMMENT_LIMIT: Final = 127


def table_name(table: Table) -> str:
    """What Istio calls a table of nftables.

    >>> table_name(Table.NAT)
    'istio-proxy-nat'
    """
    return f"istio-proxy-{table}"


def chain_name(chain: Chain) -> str:
    """What Istio calls a chain of nftables.

    >>> chain_name(Chain.ISTIO_IN_REDIRECT)
    'istio-in-redirect'
    """
    return str(chain).lower().replace("_", "-")


def transaction(plan: Plan, listed: Sequence[Json], *, force: bool = False) -> list[Json]:
    """The commands, all or nothing, after which the tables hold the plan; none if they do.

    `listed` is what `nft --json list ruleset` has under `nftables`. `force` writes what is there again.
    """
    return [
        command
        for table in Table
        if force or _content(plan, table) != _listed(listed, table)
        for command in (*_deletion(table, listed), *({"add": part} for part in _content(plan, table)))
    ]


def removal(listed: Sequence[Json]) -> list[Json]:
    """What takes all tables of any plan away; none if there are none."""
    return [command for table in Table for command in _deletion(table, listed)]


def missing(plan: Plan, listed: Sequence[Json]) -> tuple[str, ...]:
    """The reasons of the rules that are not there."""
    return tuple(
        str(part["rule"]["comment"])
        for table in Table
        for part in _content(plan, table)
        if "rule" in part and part not in _listed(listed, table)
    )


def _deletion(table: Table, listed: Sequence[Json]) -> list[Json]:
    there = any(part.get("table", {}).get("name") == table_name(table) for part in listed)
    return [{"delete": {"table": {"family": _FAMILY, "name": table_name(table)}}}] if there else []


def _content(plan: Plan, table: Table) -> list[Json]:
    """The table, its chains, and its rules: everything that one adds."""
    rules = [rule for rule in plan.rules if rule.chain.table is table]
    if not rules:
        return []
    targets = {rule.verdict.chain for rule in rules if isinstance(rule.verdict, Jump)}
    chains = [chain for chain in Chain if chain in targets or any(rule.chain is chain for rule in rules)]
    return [
        {"table": {"family": _FAMILY, "name": table_name(table)}},
        *(_chain(chain) for chain in chains),
        *(rule for chain in chains for rule in _rules(plan, chain)),
    ]


def _listed(listed: Sequence[Json], table: Table) -> list[Json]:
    """What is there of a table, without the numbers that the kernel gives."""
    name = table_name(table)
    found: list[Json] = []
    for part in listed:
        for kind, body in part.items():
            if kind not in {"table", "chain", "rule"} or body.get("family") != _FAMILY:
                continue
            if body.get("name" if kind == "table" else "table") == name:
                found.append({kind: {key: value for key, value in body.items() if key != "handle"}})
    return sorted(found, key=lambda part: ("table", "chain", "rule").index(next(iter(part))))


def _chain(chain: Chain) -> Json:
    body: Json = {"family": _FAMILY, "table": table_name(chain.table), "name": chain_name(chain)}
    if chain.is_hook:
        # addresses are translated in chains of their own type; a mark that changes on the way out routes anew
        marks = chain is Chain.MANGLE_OUTPUT
        kind = "nat" if chain.table is Table.NAT else "route" if marks else "filter"
        body |= {"type": kind, "hook": chain_name(chain), "prio": _PRIORITY[chain.table], "policy": "accept"}
    return {"chain": body}


def _rules(plan: Plan, chain: Chain) -> Iterator[Json]:
    if chain.is_hook and not plan.ipv6:
        only_ipv4 = [_equal({"meta": {"key": "nfproto"}}, "ipv6"), {"return": None}]
        yield _rule(chain, only_ipv4, "IPv6 is not captured")
    for rule in plan.of(chain):
        for version in _versions(rule, plan):
            matches = _matches(rule.matches)
            yield _rule(chain, [*matches, *_verdict(rule.verdict, version)], rule.reason)
            if isinstance(rule.verdict, Transparent):
                # where no socket takes it nftables would let the packet pass by the proxy; iptables drops it
                yield _rule(chain, [*matches, {"drop": None}], "nothing listens there, and nothing shall pass by")


def _versions(rule: Rule, plan: Plan) -> tuple[Version, ...]:
    """Once for each version where the verdict differs by it, else once."""
    concerned = tuple(version for version in plan.versions if rule.concerns(version))
    return concerned if isinstance(rule.verdict, Transparent) else concerned[:1]


def _rule(chain: Chain, expressions: list[Json], reason: str) -> Json:
    place = {"family": _FAMILY, "table": table_name(chain.table), "chain": chain_name(chain)}
    comment = reason.encode()[:_COMMENT_LIMIT].decode(errors="ignore")
    return {"rule": {**place, "comment": comment, "expr": expressions}}


def _matches(matches: tuple[Match, ...]) -> list[Json]:
    # a port says the protocol too
    bare = [match for match in matches if not isinstance(match, Tcp)]
    wanted = bare if any(isinstance(match, ToPort | ToPorts) for match in bare) else list(matches)
    return [_match(match) for match in wanted]


def _match(match: Match) -> Json:
    match match:
        case Source(network):
            return _equal(_address(network, "saddr"), _network(network))
        case Destination(network, negated):
            return _equal(_address(network, "daddr"), _network(network), negated=negated)
        case Enters(interface):
            return _equal({"meta": {"key": "iifname"}}, interface)
        case Leaves(interface):
            return _equal({"meta": {"key": "oifname"}}, interface)
        case Tcp() | ToPort() | ToPorts() | UdpTo() | UdpFrom():
            return _transport(match)
        case ByUser(uid, negated):
            return _equal({"meta": {"key": "skuid"}}, uid, negated=negated)
        case ByGroup(gid, negated):
            return _equal({"meta": {"key": "skgid"}}, gid, negated=negated)
        case Marked() | ConnectionMarked() | Established() | Invalid():
            return _state(match)


def _transport(match: Transport) -> Json:
    match match:
        case Tcp():
            return _equal({"meta": {"key": "l4proto"}}, "tcp")
        case ToPort(port, negated):
            return _equal(_payload("tcp", "dport"), port, negated=negated)
        case ToPorts(none_of):
            return _equal(_payload("tcp", "dport"), {"set": sorted(none_of)}, negated=True)
        case UdpTo(port):
            return _equal(_payload("udp", "dport"), port)
        case UdpFrom(port):
            return _equal(_payload("udp", "sport"), port)


def _state(match: State) -> Json:
    match match:
        case Marked(mark, negated):
            return _equal({"meta": {"key": "mark"}}, mark, negated=negated)
        case ConnectionMarked(mark):
            return _equal({"ct": {"key": "mark"}}, mark)
        case Established():
            return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
        case Invalid():
            return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}


def _verdict(verdict: Verdict, version: Version) -> list[Json]:
    match verdict:
        case Jump(chain):
            return [{"jump": {"target": chain_name(chain)}}]
        case Return():
            return [{"return": None}]
        case Accept():
            return [{"accept": None}]
        case Drop():
            return [{"drop": None}]
        case Redirect(port):
            return [{"redirect": {"port": port}}]
        case Transparent(port, value):
            family = "ip" if version == 4 else "ip6"
            return [{"tproxy": {"family": family, "port": port}}, _change(Mark(value)), {"accept": None}]
        case Zone() | Mark() | SaveMark() | RestoreMark():
            return [_change(verdict)]


def _change(change: Change) -> Json:
    mark, connection = {"meta": {"key": "mark"}}, {"ct": {"key": "mark"}}
    match change:
        case Zone(number):
            return _set({"ct": {"key": "zone"}}, number)
        case Mark(value):
            return _set(mark, value)
        case SaveMark():
            return _set(connection, mark)
        case RestoreMark():
            return _set(mark, connection)


def _equal(left: Mapping[str, Any], right: Any, *, negated: bool = False) -> Json:
    return {"match": {"op": "!=" if negated else "==", "left": dict(left), "right": right}}


def _set(key: Mapping[str, Any], value: Any) -> Json:
    return {"mangle": {"key": dict(key), "value": value}}


def _payload(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def _address(network: Network, field: str) -> Json:
    return _payload("ip" if isinstance(network, IPv4Network) else "ip6", field)


def _network(network: Network) -> Any:
    address = str(network.network_address)
    whole = network.prefixlen == network.max_prefixlen
    return address if whole else {"prefix": {"addr": address, "len": network.prefixlen}}
