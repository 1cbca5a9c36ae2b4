"""The services of ServiceEntries, kept up to date one object at a time.

A change marks the hosts that it touches: those of the entry itself, or of the entries that select the workload.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from weft.model.kubernetes import Workload
from weft.model.locality import NETWORK
from weft.model.registered import Key, LeftOut, Registered
from weft.model.service_entries import EntryRule, hidden, joined, joins
from weft.model.services import Labels
from weft.model.tables import put, relate
from weft.model.workload_entries import EntryWorkload


class EntryServices:
    """ServiceEntries with the WorkloadEntries and Pods that they select. `dirty` are the hosts to be made anew."""

    def __init__(self) -> None:
        self.rules: dict[Key, EntryRule] = {}
        self.workloads: dict[Key, EntryWorkload] = {}
        self.dirty: set[str] = set()
        self._pods: dict[Key, EntryWorkload] = {}
        self._pods_at: dict[str, set[Key]] = {}
        self._rules_of: dict[str, set[Key]] = {}
        self._selecting: dict[str, set[Key]] = {}
        self._pods_in: dict[str, set[Key]] = {}
        self._workloads_in: dict[str, set[Key]] = {}
        self._workloads_at: dict[str, set[Key]] = {}

    def put_rule(self, key: Key, rule: EntryRule | None) -> None:
        """Take in a ServiceEntry, or its deletion (None)."""
        old = self.rules.get(key)
        if not put(self.rules, key, rule):
            return
        for each, link in ((old, False), (rule, True)):
            if each is not None:
                self.dirty.update(each.hosts)
                for host in each.hosts:
                    relate(self._rules_of, host, key, link=link)
                relate(self._selecting, each.namespace, key, link=link and each.selector is not None)

    def put_workload(self, key: Key, workload: EntryWorkload | None) -> tuple[EntryWorkload, ...]:
        """Take in a WorkloadEntry, or its deletion (None). What it was and is, if it changed."""
        old = self.workloads.get(key)
        if not put(self.workloads, key, workload):
            return ()
        changed = [each for each in (old, workload) if each is not None]
        for each in changed:
            relate(self._workloads_at, each.address, key, link=each is workload)
            relate(self._workloads_in, each.namespace, key, link=workload is not None)
            self._touch(each)
        return tuple(changed)

    def put_pod(self, key: Key, pod: Workload | None, *, ready: bool) -> Iterator[EntryWorkload]:
        """Take in a Pod, or its deletion (None). Gives the WorkloadEntries at its old and new address."""
        new = _of_pod(pod, ready=ready) if pod is not None and pod.address else None
        old = self._pods.get(key)
        if not put(self._pods, key, new):
            return
        for each in (old, new):
            if each is not None:
                relate(self._pods_at, each.address, key, link=each is new)
                relate(self._pods_in, each.namespace, key, link=new is not None)
                self._touch(each)
                for other in self._workloads_at.get(each.address, ()):
                    self._touch(self.workloads[other])
                    yield self.workloads[other]

    def is_ready(self, key: Key) -> bool:
        """Whether a pod takes requests."""
        return key in self._pods and self._pods[key].healthy

    def of(self, host: str) -> tuple[Registered, ...]:
        """The services of a host: one of each namespace, the oldest first, made of all its entries there."""
        found: dict[str, Registered] = {}
        rules = sorted((self.rules[key] for key in self._rules_of.get(host, ())), key=lambda each: each.precedence)
        for rule in rules:
            index = rule.hosts.index(host)
            listing = rule.listings[index]
            selected = tuple(self._selected(rule))
            one = Registered(
                listing, rule.endpoints(listing, selected), left_out=rule.unreachable(listing, selected)
            )
            first = found.get(rule.namespace)
            if first is None:
                found[rule.namespace] = one
            elif joins(first.listing, listing):
                found[rule.namespace] = joined(first, one)
            else:
                reason = f'has no effect: an older ServiceEntry of this namespace describes "{host}" otherwise'
                hint = "Let both have the same resolution, location, selector and exportTo, or take one out."
                left = LeftOut(rule.namespace, rule.name, f"spec.hosts[{index}]", reason, hint)
                found[rule.namespace] = replace(first, left_out=(*first.left_out, left))
        return tuple(found.values())

    def selected(self, namespace: str, selector: Labels) -> tuple[EntryWorkload, ...]:
        """The WorkloadEntries of a namespace with these labels. A pod at the same address goes before them."""
        entries = (self.workloads[key] for key in self._workloads_in.get(namespace, ()))
        return tuple(
            each for each in entries if set(selector) <= set(each.labels) and each.address not in self._pods_at
        )

    def hides(self, host: str) -> tuple[LeftOut, ...]:
        """The entries of a host that is Kubernetes' own already."""
        rules = (self.rules[key] for key in sorted(self._rules_of.get(host, ())))
        return tuple(hidden(rule, host) for rule in rules)

    def _selected(self, rule: EntryRule) -> Iterable[EntryWorkload]:
        if rule.selector is None:
            return ()
        pods = (self._pods[key] for key in self._pods_in.get(rule.namespace, ()))
        return (
            *(each for each in pods if rule.selects(each.labels)),
            *self.selected(rule.namespace, rule.selector),
        )

    def _touch(self, workload: EntryWorkload) -> None:
        for key in self._selecting.get(workload.namespace, ()):
            rule = self.rules[key]
            if rule.selects(workload.labels):
                self.dirty.update(rule.hosts)


def _of_pod(pod: Workload, *, ready: bool) -> EntryWorkload:
    return EntryWorkload(
        name=pod.name,
        namespace=pod.namespace,
        address=pod.address,
        labels=pod.labels,
        ports=(),
        mutual_tls=pod.mutual_tls,
        identity=pod.identity,
        locality=pod.locality,
        network=dict(pod.labels).get(NETWORK, ""),
        weight=1,
        healthy=ready,
        node=pod.node,
    )
