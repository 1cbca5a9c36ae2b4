"""What DEL and GC take away: of a pod's interface, and of the node, what is known as ours by its mark.

What the interface shares with the pod's others stays until the last of them goes. What of a pod's link was on the
node goes with the link itself, also when the pod's namespace is gone already.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_interface
from typing import Final

from weft.underlay.coordinator import NODE_RULE
from weft.underlay.coordinator_facts import VETH, Facts, alias
from weft.underlay.coordinator_lines import ALIAS, OURS, Gone, Line, Marks, Pair
from weft.underlay.observed import MAIN, Link, Neighbour, Observed, Route, Rule

_REASON: Final = "the interface goes"
_VETH_GOES: Final = "the last interface that used it goes"


def removal(facts: Facts, table: int) -> tuple[Line, ...]:
    """What is to be gone with an interface. `facts.pod` is empty where the pod's namespace is gone."""
    own = [link for link in facts.node.links if link.alias == facts.alias]
    ends = {link.name for link in own} | {facts.on_node}
    if end := facts.peer_of_first():
        ends.add(end.name)
    on_node = [*_on_node(facts, table, ends), *(Line("node", _gone(link), _REASON) for link in own)]
    return (*_in_pod(facts), *on_node)


def leftovers(network: str, valid: Collection[tuple[str, str]], node: Observed) -> tuple[Line, ...]:
    """Links of ours on the node whose attachment to the network, (container, interface), is none of `valid`."""
    kept = {alias(network, container, interface) for container, interface in valid}
    ours = alias(network, "", "").rstrip() + " "
    return tuple(
        Line("node", _gone(link), f"its pod is gone ({link.alias.removeprefix(ALIAS).strip()})")
        for link in node.links
        if link.alias.startswith(ours) and link.alias not in kept
    )


def unused_rules(table: int, routes: Sequence[Route], node: Observed) -> tuple[Line, ...]:
    """The rules that lead into the table of pods' addresses, of each IP version without a route there."""
    return tuple(
        Line("node", Gone(rule), "no pod is left that it would lead to")
        for rule in node.rules
        if (rule.priority, rule.table, rule.protocol) == (NODE_RULE, table, OURS)
        and not any(route.version == rule.version for route in routes)
    )


def _on_node(facts: Facts, table: int, ends: Collection[str]) -> Iterator[Line]:
    sources = {str(each.address.ip) for each in facts.addresses} | set(_ips(facts.pod.link(facts.interface)))
    for route in facts.node.table(table):
        if route.protocol == OURS and route.device in ends and route.destination.partition("/")[0] in sources:
            yield Line("node", Gone(route), _REASON)
    for entry in facts.node.neighbours:
        if entry.protocol == OURS and entry.device in ends and entry.address in sources:
            yield Line("node", Gone(entry), _REASON)


def _in_pod(facts: Facts) -> Iterator[Line]:
    pod, sources = facts.pod, {str(each.address.ip) for each in facts.addresses}
    sources |= set(_ips(pod.link(facts.interface)))
    rules = [rule for rule in pod.rules if rule.protocol == OURS and rule.source]
    own = [rule for rule in rules if _address(rule) in sources]
    firsts = [rule for rule in rules if _address(rule) in _ips(pod.link(facts.first)) and rule not in own]
    last = len(own) + len(firsts) == len(rules)
    yield from _returned(facts, firsts)
    yield from _tables(pod, own)
    if last:
        yield from _tables(pod, firsts)
    if last and (facts.is_first or pod.link(VETH) is None):
        yield from _shared(pod)


def _returned(facts: Facts, rules: Sequence[Rule]) -> Iterator[Line]:
    """The default route is the first interface's again, where it was this one's."""
    main = [route for route in facts.pod.table(MAIN) if route.default]
    for number in sorted({rule.table for rule in rules}):
        for route in facts.pod.table(number):
            of_version = [each.device for each in main if each.version == route.version]
            if route.default and facts.first not in of_version and facts.interface in of_version:
                yield Line("pod", replace(route, table=MAIN), f"{facts.interface} has it no more")


def _address(rule: Rule) -> str:
    return rule.source.partition("/")[0]


def _tables(pod: Observed, rules: Sequence[Rule]) -> Iterator[Line]:
    for rule in rules:
        yield Line("pod", Gone(rule), _REASON)
    for number in sorted({rule.table for rule in rules}):
        for route in pod.table(number):
            yield Line("pod", Gone(route), _REASON)


def _shared(pod: Observed) -> Iterator[Line]:
    if pod.marks:
        yield Line("pod", Marks(()), _VETH_GOES)
    for rule in pod.rules:
        if rule.protocol == OURS and rule.mark:
            yield Line("pod", Gone(rule), _VETH_GOES)
    things: tuple[Route | Neighbour, ...] = (*pod.routes, *pod.neighbours)
    for thing in things:
        if thing.protocol == OURS:
            yield Line("pod", Gone(thing), _VETH_GOES)


def _gone(link: Link) -> Gone:
    pair = Pair(
        on_node=link.name, in_pod=VETH, mac_on_node=link.mac, mac_in_pod="", mtu=link.mtu, alias=link.alias
    )
    return Gone(pair)


def _ips(link: Link | None) -> list[str]:
    return [str(ip_interface(each).ip) for each in link.addresses] if link else []
