"""The plugin `coordinator`: routes of a pod's interfaces put in order, on the pod's side and on the node's."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from weft.adapters import neighbours, pod_network_apply
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import SPIDERCOORDINATORS
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.adapters.libnftables import LibnftablesError
from weft.adapters.pod_network_apply import ApplyError, Both
from weft.api.spider_coordinator import CoordinatorSpec, SpiderCoordinator
from weft.processes.cni import calls
from weft.processes.cni.calls import CallError
from weft.processes.cni.pods import Pods
from weft.processes.underlay.plugins import Call, Json
from weft.underlay.coordinator import facts as coordinator_facts
from weft.underlay.coordinator import plan as coordinator
from weft.underlay.coordinator import removal as coordinator_removal
from weft.underlay.coordinator import settings as coordinator_settings
from weft.underlay.coordinator.changes import missing
from weft.underlay.coordinator.facts import Facts, Gateway
from weft.underlay.coordinator.lines import Line
from weft.underlay.coordinator.plan import CannotCoordinateError, Plan
from weft.underlay.coordinator.settings import Settings, SettingsError
from weft.underlay.observed import Observed

NAME: Final = "default"
"""The SpiderCoordinator that counts, unless another is chosen."""
_PATIENCE: Final = 5.0
"""Seconds for a pod to be known."""
_SHOWN: Final = 5
"""Of what is missing, in a message."""
_ENDED: Final = frozenset({"veth", "netkit"})
"""Kinds of links that have another end on the node."""
_USUAL_TABLE: Final = 500

log = logging.getLogger("weft.underlay.coordinator.plan")

Annotations = Callable[[Call], Awaitable[Mapping[str, str]]]


class Cluster:
    """What the SpiderCoordinator of a name says. Give `run` a task, and look at `current`."""

    def __init__(self, kube: Kube, name: str = NAME) -> None:
        self._kube, self._name = kube, name
        self.current: SpiderCoordinator | None = None

    async def run(self) -> None:
        """Follow it, for ever."""
        changes: AsyncIterator[Change[SpiderCoordinator]] = self._kube.reflect(
            SPIDERCOORDINATORS, decode=SpiderCoordinator, fields=f"metadata.name={self._name}"
        )
        async for change in changes:
            match change:
                case Replaced(objects):
                    self.current = next(iter(objects), None)
                case Applied(found):
                    self.current = found
                case Deleted():
                    self.current = None


def annotations_by(pods: Pods) -> Annotations:
    """The annotations of a call's pod, by what the node process knows of its pods."""

    async def found(call: Call) -> Mapping[str, str]:
        if not call.name:
            return {}
        pod = await pods.find(call.namespace, call.name, call.uid, _PATIENCE)
        if pod is None:
            raise CallError(
                calls.LATER,
                f"{call.subject} is not known to the node process yet. It is tried again; see that the API server "
                "answers the DaemonSet spiderpool-agent.",
            )
        return pod["metadata"].get("annotations") or {}

    return found


@dataclass(frozen=True, slots=True)
class _Done:
    plan: Plan
    changed: tuple[Line, ...]


class Coordinator:
    """Answers the calls. `cluster` is asked at each; `node` is the node's network namespace, "" if it is ours."""

    def __init__(
        self, cluster: Callable[[], SpiderCoordinator | None], annotations: Annotations, *, node: str = ""
    ) -> None:
        self._cluster, self._annotations, self._node = cluster, annotations, node
        # the node's rules are all pods': who takes the last away must not meet who adds
        self._turn = asyncio.Lock()

    async def add(self, call: Call) -> Json:
        """Put the interface's routes in order, and tell its neighbours of it."""
        before = _before(call)
        given = _given(call, before)
        chosen = await self._settings(call)
        if chosen.mode == "disabled":
            return before
        done: _Done = await self._in_turn(call, lambda both: _coordinate(both, chosen, call, given))
        for line in done.changed:
            log.debug("%s %s: %s", call.subject, call.ifname, line)
        log.info(
            "%s %s: %s", call.subject, call.ifname, done.plan.why or f"{len(done.changed)} things put in order"
        )
        if done.plan.lines:
            await _announce(call, given)
        return _with_mac(before, call.ifname, done.plan.mac)

    async def delete(self, call: Call) -> None:
        """Take away what is ours of the interface, on both sides, as far as they are there."""
        table = self._table(call)
        await self._in_turn(call, lambda both: _take_away(both, call, table))

    async def check(self, call: Call) -> None:
        """Fail where something is not as ADD made it."""
        given = _given(call, _before(call))
        chosen = await self._settings(call)
        if chosen.mode == "disabled":
            return
        lacking: tuple[Line, ...] = await self._in_turn(call, lambda both: _lacking(both, chosen, call, given))
        if lacking:
            more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
            raise CallError(
                calls.RULES,
                f"{call.subject} {call.ifname} is not as it was set up; missing: "
                f"{'; '.join(map(str, lacking[:_SHOWN]))}{more}. Delete the pod to have it set up again.",
            )

    async def gc(self, call: Call) -> None:
        """Take away links of ours on the node whose attachments are gone."""
        valid = {
            (str(each.get("containerID")), str(each.get("ifname")))
            for each in call.config.get("cni.dev/valid-attachments") or ()
        }
        network = str(call.config.get("name") or "")

        def work(both: Both) -> None:
            everything = both.look_at_node()
            both.apply(coordinator_removal.leftovers(network, valid, everything), Observed(), everything)
            table = self._table(call)
            rules = coordinator_removal.unused_rules(table, both.versions_in_table_of_node(table), everything)
            both.apply(rules, Observed(), everything)

        await self._in_turn(call, work, pod="")

    async def status(self, call: Call) -> None:
        """Fail while pods would be refused."""
        self._synced(call)

    def _table(self, call: Call) -> int:
        """The node's table, for calls that must not fail by what else is said."""
        current = self._cluster()
        spec = current.spec if current else CoordinatorSpec()
        return int(call.config.get("hostRuleTable") or spec.host_rule_table or _USUAL_TABLE)

    def _synced(self, call: Call) -> SpiderCoordinator:
        current = self._cluster()
        if current is None:
            raise CallError(
                calls.LATER,
                f"{call.subject}: there is no SpiderCoordinator {NAME}, which says how pods' routes are. "
                "Create it, or wait until the API server answers; it is tried again.",
            )
        status = current.status
        if status.phase != "Synced":
            raise CallError(
                calls.LATER,
                f"{call.subject}: SpiderCoordinator {NAME} is {status.phase}"
                f"{f' ({status.reason})' if status.reason else ''}: the ranges of services and pods are unknown. "
                f"See `kubectl get spidercoordinators {NAME} -o yaml`; it is tried again until it is Synced.",
            )
        return current

    async def _settings(self, call: Call) -> Settings:
        if call.config.get("mode") in coordinator_settings.DISABLED:
            return Settings(mode="disabled")
        current = self._synced(call)
        annotations = await self._annotations(call)
        try:
            return coordinator_settings.settings(call.config, current.spec, current.status, annotations)
        except SettingsError as error:
            raise CallError(calls.CONFIG, f"{call.subject}: {error}") from error

    async def _in_turn(self, call: Call, work: Callable[[Both], Any], *, pod: str | None = None) -> Any:
        """Run `work` in a thread, one after the other."""
        namespace = call.netns if pod is None else pod
        async with self._turn:
            try:
                return await asyncio.to_thread(pod_network_apply.between, namespace, self._node, work)
            except CannotCoordinateError as error:
                raise CallError(calls.CONFIG, f"{call.subject} {call.ifname}: {error}") from error
            except (ApplyError, LibnftablesError) as error:
                raise CallError(calls.RULES, f"{call.subject} {call.ifname}: {error}") from error
            except OSError as error:
                raise CallError(calls.IO, f"{call.subject} {call.ifname}: {error}") from error


def _before(call: Call) -> Json:
    found = call.config.get("prevResult")
    if not isinstance(found, Mapping):
        raise CallError(
            calls.CONFIG,
            "plugin coordinator has no prevResult",
            "Put it behind the plugin that makes the interface, in one list of plugins.",
        )
    return dict(found)


def _given(call: Call, result: Mapping[str, Any]) -> tuple[Gateway, ...]:
    try:
        return coordinator_facts.addresses(result, call.ifname)
    except (ValueError, KeyError, TypeError) as error:
        raise CallError(calls.CONFIG, f"{call.subject}: prevResult is no CNI result: {error}") from error


def _facts(both: Both, call: Call, given: tuple[Gateway, ...], table: int) -> Facts:
    pod = both.look_at_pod()
    # the first interface's other end, where it has one
    ends = {link.peer for link in pod.links if link.peer_elsewhere and link.kind in _ENDED}
    node = both.glance_at_node({coordinator_facts.end_on_node(call.container_id), *ends}, table)
    return Facts(
        network=str(call.config.get("name") or ""),
        container=call.container_id,
        interface=call.ifname,
        addresses=given,
        pod=pod,
        node=node,
    )


def _coordinate(both: Both, chosen: Settings, call: Call, given: tuple[Gateway, ...]) -> _Done:
    facts = _facts(both, call, given, chosen.table)
    plan = coordinator.plan(chosen, facts)
    lines = missing(plan.lines, facts.pod, facts.node)
    both.apply(lines, facts.pod, facts.node)
    return _Done(plan, lines)


def _lacking(both: Both, chosen: Settings, call: Call, given: tuple[Gateway, ...]) -> tuple[Line, ...]:
    facts = _facts(both, call, given, chosen.table)
    return missing(coordinator.plan(chosen, facts).lines, facts.pod, facts.node)


def _take_away(both: Both, call: Call, table: int) -> None:
    given: tuple[Gateway, ...] = ()
    with contextlib.suppress(CallError):
        # what cannot be read is no reason to leave the rest
        given = _given(call, _before(call))
    facts = _facts(both, call, given, table)
    going = missing(coordinator_removal.removal(facts, table), facts.pod, facts.node)
    both.apply(going, facts.pod, facts.node)
    rules = coordinator_removal.unused_rules(table, both.versions_in_table_of_node(table), facts.node)
    both.apply(rules, facts.pod, facts.node)


async def _announce(call: Call, given: tuple[Gateway, ...]) -> None:
    """By the interface itself: neighbours on another link would learn a wrong way."""
    for each in given:
        try:
            await neighbours.announce(call.netns, call.ifname, each.address.ip)
        except OSError as error:
            log.warning("%s %s: %s is not announced: %s", call.subject, call.ifname, each.address.ip, error)


def _with_mac(result: Json, interface: str, mac: str) -> Json:
    if not mac:
        return result
    interfaces = [
        {**each, "mac": mac} if each.get("name") == interface and each.get("sandbox") else each
        for each in result.get("interfaces") or ()
    ]
    return {**result, "interfaces": interfaces}
