"""NetworkPolicies as nftables rules of one node, as text for one atomic `nft -f` transaction.

What is forwarded is judged: by where it comes from at the sender's node, by where it goes at the receiver's, after
a service's address was translated. A node's own traffic with its pods is not forwarded, and so always allowed.
"""

from collections.abc import Sequence

from weft.cluster.network.policies import Allowed, Isolated, Ports

TABLE = "weft-policies"
_COMMENT_LENGTH = 120  # nftables takes 128 bytes

_FORWARD = """\
chain forward {
    type filter hook forward priority filter - 5; policy accept;
    ct state established,related accept
    ip saddr vmap @egress
    ip daddr vmap @ingress
}"""


def ruleset(pods: Sequence[Isolated]) -> str:
    """The table for these pods; without any there is no table.

    >>> ruleset([]).splitlines()
    ['add table ip weft-policies', 'delete table ip weft-policies']
    """
    clean = f"add table ip {TABLE}\ndelete table ip {TABLE}\n"
    if not pods:
        return clean
    ranges = sorted({one.peers for pod in pods for one in pod.allowed if one.peers})
    names = {peers: f"peers-{number}" for number, peers in enumerate(ranges)}
    body = [
        *(_set(name, peers) for peers, name in names.items()),
        *(_chain(pod, names) for pod in pods),
        *(_map(direction, pods) for direction in ("Ingress", "Egress")),
        _FORWARD,
    ]
    return "\n".join([f"{clean}table ip {TABLE} {{", *body, "}", ""])


def _set(name: str, peers: tuple[str, ...]) -> str:
    listed = ", ".join(peers)
    return f"set {name} {{\n    type ipv4_addr\n    flags interval\n    elements = {{ {listed} }}\n}}"


def _map(direction: str, pods: Sequence[Isolated]) -> str:
    elements = ", ".join(f"{pod.ip} : jump {_name(pod)}" for pod in pods if pod.direction == direction)
    inner = f"    elements = {{ {elements} }}\n" if elements else ""
    return f"map {direction.lower()} {{\n    type ipv4_addr : verdict\n{inner}}}"


def _name(pod: Isolated) -> str:
    return f"{pod.direction.lower()}/{pod.ip}"


def _chain(pod: Isolated, names: dict[tuple[str, ...], str]) -> str:
    side = "saddr" if pod.direction == "Ingress" else "daddr"
    rules = [f"ip {side} {pod.ip} return comment {_comment('itself')}"]
    rules += [rule for one in pod.allowed for rule in _rules(one, side, names)]
    rules.append(f"drop comment {_comment(pod.pod)}")
    return f"chain {_name(pod)} {{\n    " + "\n    ".join(rules) + "\n}"


def _rules(one: Allowed, side: str, names: dict[tuple[str, ...], str]) -> list[str]:
    """Rules that let it through; none where no peer or no port is left."""
    if one.peers == () or one.ports == ():
        return []
    peers = f"ip {side} @{names[one.peers]} " if one.peers else ""
    comment = f"return comment {_comment(one.policy)}"
    if one.ports is None:
        return [f"{peers}{comment}"]
    return [f"{peers}{_match(ports)} {comment}" for ports in dict.fromkeys(one.ports)]


def _match(ports: Ports) -> str:
    if not ports.first:
        return f"meta l4proto {ports.protocol}"
    span = str(ports.first) if ports.first == ports.last else f"{ports.first}-{ports.last}"
    return f"meta l4proto {ports.protocol} th dport {span}"


def _comment(text: str) -> str:
    return f'"{text[:_COMMENT_LENGTH]}"'
