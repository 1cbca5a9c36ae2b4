"""The service proxy's nftables rules, as text for one atomic `nft -f` transaction.

One table of our own, rewritten as a whole: connections that exist go on, since their translation is in conntrack,
and the sets that remember which client stays with which target are kept. Every map element and rule says in its
comment which service it is for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from weft.cluster.network.service_ports import Balanced, Target

TABLE = "weft-services"
UPLINK = "eth0"
"""The node's link to the other nodes and the machine."""

_OUTER = f'{{ "{UPLINK}", "ens192" }}'
"""The node's links to others: the nodes' own, and the underlay."""

_COMMENT_LENGTH = 120  # nftables takes 128 bytes


def ruleset(
    ports: Sequence[Balanced],
    *,
    service_range: str = "",
    pods: str = "",
    held: Sequence[Balanced] | None = None,
) -> str:
    """The table for these ports. Addresses in `service_range` (CIDR) that serve nothing are refused at once.

    `pods` (CIDR) are the addresses whose way leads through their node; with others a pod's replies may not do so.
    `held` are the ports that the table was made for before; None where that is unknown: it begins anew then.

    >>> "delete table ip weft-services" in ruleset([])
    True
    """
    addresses = _unique(element for port in ports for element in _addresses(port))
    node_ports = _unique(element for port in ports for element in _node_ports(port))
    refused = _unique(element for port in ports for element in _refused(port))
    refused_node_ports = _unique(element for port in ports for element in _refused_node_ports(port))
    targets = sorted({target.ip for port in ports for target in (*port.inside, *port.outside, *port.everywhere)})
    chains, stickers = _chains_of(ports), _stickers_of(ports)
    body = [
        _map("addresses", "ipv4_addr . inet_proto . inet_service : verdict", addresses),
        _map("node-ports", "inet_proto . inet_service : verdict", node_ports),
        _map("refused", "ipv4_addr . inet_proto . inet_service : verdict", refused),
        _map("refused-node-ports", "inet_proto . inet_service : verdict", refused_node_ports),
        _set("hairpins", "ipv4_addr . ipv4_addr", [f"{ip} . {ip}" for ip in targets]),
        *stickers.values(),
        *chains.values(),
        _BALANCE,
        _masquerade(pods),
        _refuse(service_range),
    ]
    before, after = _clean(held, chains, stickers)
    return "\n".join([*before, f"table ip {TABLE} {{", *body, "}", *after, ""])


def _clean(
    held: Sequence[Balanced] | None, chains: Mapping[str, str], stickers: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """What comes before the table's new text, and after: all that was there goes, but the memory of clients."""
    if held is None:
        # `add` before `delete`: the first transaction meets no table
        return [f"add table ip {TABLE}", f"delete table ip {TABLE}"], []
    old_chains, old_stickers = _chains_of(held), _stickers_of(held)
    changed = [name for name, text in old_stickers.items() if stickers.get(name) != text]
    before = [
        f"flush table ip {TABLE}",
        *(f"flush map ip {TABLE} {name}" for name in ("addresses", "node-ports", "refused", "refused-node-ports")),
        f"flush set ip {TABLE} hairpins",
        # with another timeout it is another set
        *(f"delete set ip {TABLE} {name}" for name in changed if name in stickers),
    ]
    after = [
        *(f"delete chain ip {TABLE} {name}" for name in old_chains if name not in chains),
        *(f"delete set ip {TABLE} {name}" for name in changed if name not in stickers),
    ]
    return before, after


_BALANCE = """\
chain balance {
    ip daddr . meta l4proto . th dport vmap @addresses
    fib daddr type local meta l4proto . th dport vmap @node-ports
}
chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    jump balance comment "from pods, other nodes and the machine"
}
chain output {
    type nat hook output priority -100; policy accept;
    jump balance comment "from this node itself"
}"""


def _masquerade(pods: str) -> str:
    others = f"ct status dnat ip saddr != {pods} fib saddr type != local iifname != {_OUTER} masquerade"
    foreign = f'    {others} comment "a pod of the underlay: replies would go past this node"\n' if pods else ""
    return f"""\
chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "lo" accept comment "a node that reaches itself"
    ct status dnat ip saddr . ip daddr @hairpins masquerade comment "a pod that reaches itself by its service"
    ct status dnat ip saddr 127.0.0.0/8 masquerade comment "a node port on localhost"
    ct status dnat iifname {_OUTER} oifname {_OUTER} masquerade comment "replies must come back through here"
{foreign}}}"""


def _refuse(service_range: str) -> str:
    rest = (
        f'    ip daddr {service_range} goto refuse-now comment "no such service or port"\n'
        if service_range
        else ""
    )
    return f"""\
chain refuse-now {{
    meta l4proto tcp reject with tcp reset
    reject with icmp type port-unreachable
}}
chain refuse {{
    ip daddr . meta l4proto . th dport vmap @refused
    fib daddr type local meta l4proto . th dport vmap @refused-node-ports
{rest}}}
chain refuse-forwarded {{
    type filter hook forward priority filter; policy accept;
    ct state new jump refuse
}}
chain refuse-own {{
    type filter hook output priority filter; policy accept;
    ct state new jump refuse
}}
chain refuse-input {{
    type filter hook input priority filter; policy accept;
    ct state new jump refuse
}}"""


def _chains_of(ports: Iterable[Balanced]) -> dict[str, str]:
    return {name: text for port in ports for name, text in _chains(port)}


def _stickers_of(ports: Iterable[Balanced]) -> dict[str, str]:
    """The sets that remember clients, one for each target that clients stay with."""
    return {
        _sticker_name(port, target): (
            f"set {_sticker_name(port, target)} {{\n    type ipv4_addr\n    flags dynamic,timeout\n"
            f"    timeout {port.sticky_seconds}s\n}}"
        )
        for port in ports
        if port.sticky_seconds
        for target in _all_targets(port)
    }


def _chains(port: Balanced) -> Iterator[tuple[str, str]]:
    """The chains of a port, those that are gone to first: what nft reads must be there already."""
    if port.sticky_seconds:
        for target in _all_targets(port):
            yield _target_name(port, target), _target_chain(port, target)
    if port.inside:
        yield _chain_name(port, "in"), _chain(_chain_name(port, "in"), _choose(port, port.inside))
    if _differs(port) and (port.outside or port.everywhere):
        rules = _choose(port, port.everywhere, f'iifname != "{UPLINK}" ') if port.everywhere else []
        rules += _choose(port, port.outside) if port.outside else []
        yield _chain_name(port, "out"), _chain(_chain_name(port, "out"), rules)
    if port.sources is not None and _serves_outside(port):
        allowed = f"ip saddr {{ {', '.join(port.sources)} }} goto {_outside_chain(port)}"
        rules = [*([allowed] if port.sources else []), f"drop comment {_comment(port, ': not for this client')}"]
        yield _chain_name(port, "guard"), _chain(_chain_name(port, "guard"), rules)


def _all_targets(port: Balanced) -> list[Target]:
    return sorted({*port.inside, *port.outside, *port.everywhere})


def _differs(port: Balanced) -> bool:
    """Whether what comes from outside goes by rules of its own."""
    return not port.inside == port.outside == port.everywhere


def _chain(name: str, rules: Iterable[str]) -> str:
    listed = "\n    ".join(rules)
    return f"chain {name} {{\n    {listed}\n}}"


def _choose(port: Balanced, targets: Sequence[Target], match: str = "") -> list[str]:
    """Rules that send a new connection to one of the targets; a client that is remembered, to its own."""
    if not port.sticky_seconds:
        chosen = f"dnat to {_choice(targets)} comment {_comment(port)}"
        return [f"{match}meta l4proto {port.protocol} {chosen}"]
    known = [
        f"{match}ip saddr @{_sticker_name(port, target)} goto {_target_name(port, target)}" for target in targets
    ]
    listed = ", ".join(f"{index} : goto {_target_name(port, target)}" for index, target in enumerate(targets))
    return [*known, f"{match}numgen random mod {len(targets)} vmap {{ {listed} }} comment {_comment(port)}"]


def _target_chain(port: Balanced, target: Target) -> str:
    rules = [
        f"update @{_sticker_name(port, target)} {{ ip saddr }}",
        f"meta l4proto {port.protocol} dnat to {target.ip}:{target.port} comment {_comment(port)}",
    ]
    return _chain(_target_name(port, target), rules)


def _choice(targets: Sequence[Target]) -> str:
    if len(targets) == 1:
        return f"{targets[0].ip}:{targets[0].port}"
    listed = ", ".join(f"{index} : {target.ip} . {target.port}" for index, target in enumerate(targets))
    return f"numgen random mod {len(targets)} map {{ {listed} }}"


def _target_name(port: Balanced, target: Target) -> str:
    return f"{_chain_name(port, 'to')}/{target.ip}/{target.port}"


def _sticker_name(port: Balanced, target: Target) -> str:
    return f"{_chain_name(port, 'clients')}/{target.ip}/{target.port}"


def _chain_name(port: Balanced, side: str) -> str:
    return f"{side}/{port.namespace}/{port.service}/{port.protocol}/{port.port}"


def _outside_chain(port: Balanced) -> str:
    return _chain_name(port, "out" if _differs(port) else "in")


def _serves_outside(port: Balanced) -> bool:
    return bool(port.outside or port.everywhere)


def _addresses(port: Balanced) -> list[str]:
    pairs = [(port.cluster_ip, _chain_name(port, "in"))] if port.inside else []
    if _serves_outside(port):
        pairs += [(ip, _outside_chain(port)) for ip in port.external_ips]
        guarded = _outside_chain(port) if port.sources is None else _chain_name(port, "guard")
        pairs += [(ip, guarded) for ip in port.balancer_ips]
    return [f"{ip} . {_match(port)} comment {_comment(port)} : goto {chain}" for ip, chain in pairs]


def _node_ports(port: Balanced) -> list[str]:
    if not (port.node_port and _serves_outside(port)):
        return []
    return [f"{port.protocol} . {port.node_port} comment {_comment(port)} : goto {_outside_chain(port)}"]


def _refused(port: Balanced) -> list[str]:
    outer = (*port.external_ips, *port.balancer_ips)
    ips = [*([] if port.inside else [port.cluster_ip]), *([] if port.outside else outer)]
    return [f"{ip} . {_match(port)} {_no_endpoints(port)}" for ip in ips]


def _refused_node_ports(port: Balanced) -> list[str]:
    if not port.node_port or port.outside:
        return []
    return [f"{port.protocol} . {port.node_port} {_no_endpoints(port)}"]


def _no_endpoints(port: Balanced) -> str:
    """Refused at once; but dropped where only this node has none, as kube-proxy does: another one may answer."""
    if port.everywhere:
        return f"comment {_comment(port, ': none on this node')} : drop"
    return f"comment {_comment(port, ': no endpoints')} : goto refuse-now"


def _match(port: Balanced) -> str:
    return f"{port.protocol} . {port.port}"


def _comment(port: Balanced, more: str = "") -> str:
    return f'"{port.label[: _COMMENT_LENGTH - len(more)]}{more}"'


def _unique(elements: Iterable[str]) -> list[str]:
    """The first of those with one key: two services may name one external address, and nft would refuse both."""
    found: dict[str, str] = {}
    for element in elements:
        found.setdefault(element.partition(" comment ")[0], element)
    return list(found.values())


def _map(name: str, types: str, elements: Iterable[str]) -> str:
    return _collection("map", name, types, elements)


def _set(name: str, types: str, elements: Iterable[str]) -> str:
    return _collection("set", name, types, elements)


def _collection(kind: str, name: str, types: str, elements: Iterable[str]) -> str:
    listed = ",\n        ".join(elements)
    inner = f"    elements = {{\n        {listed}\n    }}\n" if listed else ""
    return f"{kind} {name} {{\n    type {types}\n{inner}}}"
