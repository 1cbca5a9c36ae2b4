"""The service proxy's nftables rules, as text for one atomic `nft -f` transaction.

One table of our own, replaced as a whole: connections that exist go on, since their translation is in conntrack.
Every map element and rule says in its comment which service it is for.
"""

from collections.abc import Iterable, Sequence

from weft.cluster.network.service_ports import Balanced, Target

TABLE = "weft-services"
UPLINK = "eth0"
"""The node's link to the other nodes and the machine."""

_COMMENT_LENGTH = 120  # nftables takes 128 bytes


def ruleset(ports: Sequence[Balanced], *, service_range: str = "") -> str:
    """The table for these ports. Addresses in `service_range` (CIDR) that serve nothing are refused at once.

    >>> "delete table ip weft-services" in ruleset([])
    True
    """
    chains = [chain for port in ports for chain in _chains(port)]
    addresses = [element for port in ports for element in _addresses(port)]
    node_ports = [element for port in ports for element in _node_ports(port)]
    refused = [element for port in ports for element in _refused(port)]
    refused_node_ports = [element for port in ports for element in _refused_node_ports(port)]
    targets = sorted({target.ip for port in ports for target in (*port.inside, *port.outside)})
    body = [
        _map("addresses", "ipv4_addr . inet_proto . inet_service : verdict", addresses),
        _map("node-ports", "inet_proto . inet_service : verdict", node_ports),
        _map("refused", "ipv4_addr . inet_proto . inet_service : verdict", refused),
        _map("refused-node-ports", "inet_proto . inet_service : verdict", refused_node_ports),
        _set("hairpins", "ipv4_addr . ipv4_addr", [f"{ip} . {ip}" for ip in targets]),
        *chains,
        _BALANCE,
        _masquerade(),
        _refuse(service_range),
    ]
    # `add` before `delete`: the first transaction meets no table
    return "\n".join([f"add table ip {TABLE}", f"delete table ip {TABLE}", f"table ip {TABLE} {{", *body, "}", ""])


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


def _masquerade() -> str:
    return f"""\
chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat ip saddr . ip daddr @hairpins masquerade comment "a pod that reaches itself by its service"
    ct status dnat iifname "{UPLINK}" oifname "{UPLINK}" masquerade comment "replies must come back through here"
}}"""


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


def _chains(port: Balanced) -> list[str]:
    both = [(_chain_name(port, "in"), port.inside)]
    if port.outside != port.inside:
        both.append((_chain_name(port, "out"), port.outside))
    return [_chain(name, port, targets) for name, targets in both if targets]


def _chain(name: str, port: Balanced, targets: Sequence[Target]) -> str:
    return f"""\
chain {name} {{
    meta l4proto {port.protocol} dnat to {_choice(targets, sticky=port.sticky)} comment {_comment(port)}
}}"""


def _choice(targets: Sequence[Target], *, sticky: bool) -> str:
    if len(targets) == 1:
        return f"{targets[0].ip}:{targets[0].port}"
    # a hash of the client's address needs no memory of clients, so it survives every change of the table
    pick = f"jhash ip saddr mod {len(targets)} seed 0x77656674" if sticky else f"numgen random mod {len(targets)}"
    listed = ", ".join(f"{index} : {target.ip} . {target.port}" for index, target in enumerate(targets))
    return f"{pick} map {{ {listed} }}"


def _chain_name(port: Balanced, side: str) -> str:
    return f"{side}/{port.namespace}/{port.service}/{port.protocol}/{port.port}"


def _outside_chain(port: Balanced) -> str:
    return _chain_name(port, "in" if port.outside == port.inside else "out")


def _addresses(port: Balanced) -> list[str]:
    pairs = [(port.cluster_ip, _chain_name(port, "in"))] if port.inside else []
    if port.outside:
        pairs += [(ip, _outside_chain(port)) for ip in port.external_ips]
    return [f"{ip} . {_match(port)} comment {_comment(port)} : goto {chain}" for ip, chain in pairs]


def _node_ports(port: Balanced) -> list[str]:
    if not (port.node_port and port.outside):
        return []
    return [f"{port.protocol} . {port.node_port} comment {_comment(port)} : goto {_outside_chain(port)}"]


def _refused(port: Balanced) -> list[str]:
    ips = [*([] if port.inside else [port.cluster_ip]), *([] if port.outside else port.external_ips)]
    return [f"{ip} . {_match(port)} comment {_comment(port, ': no endpoints')} : goto refuse-now" for ip in ips]


def _refused_node_ports(port: Balanced) -> list[str]:
    if not port.node_port or port.outside:
        return []
    return [f"{port.protocol} . {port.node_port} comment {_comment(port, ': no endpoints')} : goto refuse-now"]


def _match(port: Balanced) -> str:
    return f"{port.protocol} . {port.port}"


def _comment(port: Balanced, more: str = "") -> str:
    return f'"{port.label[: _COMMENT_LENGTH - len(more)]}{more}"'


def _map(name: str, types: str, elements: Iterable[str]) -> str:
    return _collection("map", name, types, elements)


def _set(name: str, types: str, elements: Iterable[str]) -> str:
    return _collection("set", name, types, elements)


def _collection(kind: str, name: str, types: str, elements: Iterable[str]) -> str:
    listed = ",\n        ".join(elements)
    inner = f"    elements = {{\n        {listed}\n    }}\n" if listed else ""
    return f"{kind} {name} {{\n    type {types}\n{inner}}}"
