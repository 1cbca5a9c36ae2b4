"""What DEL and GC take away: of a pod's interface, and of the node, what is known as ours by its mark.

What the interface shares with the pod's others stays until the last of them goes. What of a pod's link was on the
node goes with the link itself, also when the pod's namespace is gone already.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_interface
from typing import Final

from weft.underlay.coordinator.facts import VETH, Facts, alias
from weft.underlay.coordinator.lines import ALIAS, OURS, Gone, Line, Marks, Pair
from weft.underlay.coordinator.plan import NODE_RULE
from weft.underlay.observed import MAIN, Link, Neighbour, Observed, Route, Rule, Version

_REASON: Final = "the interface goes"
_VETH_GOES: Final = "the last interface that used it goes"


def removal(facts: Facts, table: int) -> tuple[Line, ...]:
    """What is to be gone with an interface. `facts.pod` is empty where the pod's namespace is gone."""
    ends = {facts.on_node}
    if end := facts.peer_of_first():
        ends.add(end.name)
    ours = [one for one in facts.node.table(table) if one.protocol == OURS and one.device in ends]
    entries = [one for one in facts.node.neighbours if one.protocol == OURS and one.device in ends]
    sources = {str(each.address.ip) for each in facts.addresses} | _ips(facts.pod.link(facts.interface))
    going: list[Route | Neighbour] = [route for route in ours if _bare(route.destination) in sources]
    going += [entry for entry in entries if entry.address in sources]
    # the node knows which others of the pod are coordinated
    others = {_bare(route.destination) for route in ours} - sources
    return (
        *_in_pod(facts, sources, others),
        *(Line("node", Gone(thing), _REASON) for thing in going),
        *(Line("node", _gone(link), _REASON) for link in facts.node.links if link.alias == facts.alias),
    )


def leftovers(network: str, valid: Collection[tuple[str, str]], node: Observed) -> tuple[Line, ...]:
    """Links of ours on the node whose attachment to the network, (container, interface), is none of `valid`."""
    kept = {alias(network, container, interface) for container, interface in valid}
    ours = alias(network, "", "").rstrip() + " "
    return tuple(
        Line("node", _gone(link), f"its pod is gone ({link.alias.removeprefix(ALIAS).strip()})")
        for link in node.links
        if link.alias.startswith(ours) and link.alias not in kept
    )


def unused_rules(table: int, versions: Collection[Version], node: Observed) -> tuple[Line, ...]:
    """The rules that lead into the table of pods' addresses, but of the IP versions that have routes there."""
    return tuple(
        Line("node", Gone(rule), "no pod is left that it would lead to")
        for rule in node.rules
        if (rule.priority, rule.table, rule.protocol) == (NODE_RULE, table, OURS) and rule.version not in versions
    )


def _in_pod(facts: Facts, sources: Collection[str], others: Collection[str]) -> Iterator[Line]:
    pod, of_first = facts.pod, _ips(facts.pod.link(facts.first))
    rules = [rule for rule in pod.rules if rule.protocol == OURS and rule.source]
    own = [rule for rule in rules if _bare(rule.source) in sources]
    firsts = [rule for rule in rules if _bare(rule.source) in of_first and rule not in own]
    yield from _returned(facts, firsts)
    yield from _tables(pod, own)
    if not set(others) - of_first:
        # a single one need not be told from others
        yield from _tables(pod, firsts)
    if not others:
        yield from _shared(pod)


def _returned(facts: Facts, rules: Sequence[Rule]) -> Iterator[Line]:
    """The default route is the first interface's again, where it was this one's."""
    main = [route for route in facts.pod.table(MAIN) if route.default]
    for number in sorted({rule.table for rule in rules}):
        for route in facts.pod.table(number):
            of_version = [each.device for each in main if each.version == route.version]
            if route.default and facts.first not in of_version and facts.interface in of_version:
                yield Line("pod", replace(route, table=MAIN), f"{facts.interface} has it no more")


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


def _ips(link: Link | None) -> set[str]:
    return {str(ip_interface(each).ip) for each in link.addresses} if link else set()


def _bare(network: str) -> str:
    return network.partition("/")[0]
