"""The plugin `multus`: it gives a pod its networks, one after the other, and takes all of them away again."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

import msgspec

from weft.adapters import default_routes, netns, rtnetlink
from weft.processes.cni import calls
from weft.processes.cni.calls import CallError
from weft.processes.underlay import swallowing
from weft.processes.underlay.caching import Cache
from weft.processes.underlay.choosing import Chooser
from weft.processes.underlay.delegating import Delegator
from weft.processes.underlay.plugins import Call, Json, Plugin, Surroundings
from weft.processes.underlay.status import Statuses
from weft.underlay import pod_analysis
from weft.underlay.networks import results
from weft.underlay.networks.delegates import Delegate, Record
from weft.underlay.networks.network_status import Attached

_PATIENCE: Final = 30.0
"""Seconds that a pod may take to be told of."""
_TURN_SECONDS: Final = 50.0
"""What a pod may wait for others that begin with it."""
_ADD_SECONDS: Final = 105.0
"""What a call may take with that: the kubelet waits two minutes."""
_AT_ONCE: Final = 16
"""Pods that are given their networks at the same time: if all were that begin at once, none would be in time."""
_UNKNOWN: Final = 3
"""CNI's code for a container that is not known."""
_ATTACHMENTS: Final = "cni.dev/valid-attachments"
_NOT_ATTACHED: Final = "FailedAttachNetwork"
"""The reason of an event."""

log = logging.getLogger("weft.underlay.networks.asked")


class Meta:
    """Attaches networks. `plugins` are the others of ours, by type."""

    def __init__(
        self, around: Surroundings, chooser: Chooser, delegator: Delegator, plugins: Mapping[str, Plugin]
    ) -> None:
        self._around, self._chooser, self._delegator, self._plugins = around, chooser, delegator, plugins
        self._cache = Cache(around.settings.places.mounted_cache_dir)
        self._statuses = Statuses(around.kube)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()

    async def add(self, call: Call) -> Json:
        """Attach all networks, or none; the result is that of the pod's first one."""
        began = asyncio.get_running_loop().time()
        async with self._alone(call.container_id):
            await self._clean(call)
            pod = await self._pod(call)
            annotations = (pod["metadata"].get("annotations") or {}) if pod else {}
            chosen, told = await self._chooser.choose(call, annotations)
            if told:
                log.info("%s: %s", call.subject, told)
            async with self._turn(call, began + _TURN_SECONDS):
                made = await self._give(call, pod, chosen, began + _ADD_SECONDS)
            if pod:
                await self._statuses.write(pod, _attached(made))
                await self._warn(call, pod)
            return made[0].result or {}

    async def _give(
        self, call: Call, pod: Json | None, chosen: Sequence[Delegate], deadline: float
    ) -> Sequence[Delegate]:
        """Attach what was chosen, and keep what it is; where one fails, take away what there is and raise."""
        made = list(chosen)
        self._keep(call, made)
        try:
            async with asyncio.timeout_at(deadline):
                await self._attach(call, made)
        except (CallError, TimeoutError) as error:
            failure = _failure(error, call)
            if pod:
                self._around.teller.tell(pod, _NOT_ATTACHED, f"{failure.msg} {failure.details}".strip())
            # what cannot be taken away now is kept for DEL
            with contextlib.suppress(CallError):
                await self._detach(call, self._keep(call, made))
            raise failure from error
        self._keep(call, made, done=True)
        return made

    async def delete(self, call: Call) -> None:
        """Take away what the container was given, by what was kept of it."""
        async with self._alone(call.container_id):
            if (record := self._cache.read(call.container_id)) is not None:
                await self._detach(call, record)

    async def check(self, call: Call) -> None:
        """Look at all networks that the container was given."""
        record = self._cache.read(call.container_id)
        if record is None or not record.done:
            raise CallError(
                _UNKNOWN, f"container {call.container_id} has no networks by us", "It is to be made anew."
            )
        for each in record.delegates:
            before = record.delegates[0].result if each.continues else each.result
            await self._delegator.check(_part(call, each), each.config, before)

    async def gc(self, call: Call) -> None:
        """Take away what belongs to no container that the runtime still has; CallError of the first failure."""
        valid = {str(each.get("containerID", "")) for each in call.config.get(_ATTACHMENTS, ())}
        failures, kept = list[CallError](), list[Record]()
        for record in await self.records():
            # what is under way is not the runtime's to speak of yet
            if record.container in valid or record.container in self._locks:
                kept.append(record)
                continue
            try:
                await self.forget(record)
            except CallError as error:
                failures.append(error)
        failures += await self._collect(call, kept)
        if failures:
            raise failures[0]

    async def status(self, call: Call) -> None:
        """Fail where no pod could be given its networks now."""
        if not self._around.pods.synced.is_set():
            raise CallError(
                calls.UNAVAILABLE,
                "pods cannot be added yet: the node process has not read the node's pods",
                "It waits for the API server; its log says more.",
            )
        try:
            network = await self._chooser.first(await self._chooser.files())
        except CallError as error:
            raise CallError(calls.UNAVAILABLE, error.msg, error.details) from error
        await self._delegator.status(replace(call, command="STATUS"), network)

    async def records(self) -> list[Record]:
        """What the node's containers have: its folder may be several nodes' where they share a file system."""
        node = self._around.settings.node
        return [each for each in await asyncio.to_thread(lambda: list(self._cache.all())) if each.node == node]

    async def forget(self, record: Record) -> None:
        """DEL of a container of which the runtime knows nothing any more; its namespace may still be there."""
        path = self._around.settings.places.root / record.sandbox.lstrip("/")
        call = Call(
            command="DEL",
            container_id=record.container,
            ifname=record.interface,
            netns=str(path) if record.sandbox and path.exists() else "",
            sandbox=record.sandbox,
            namespace=record.namespace,
            name=record.name,
            uid=record.uid,
            config={},
        )
        await self.delete(call)

    async def _pod(self, call: Call) -> Json | None:
        if not call.name:
            return None
        pod = await self._around.pods.find(call.namespace, call.name, call.uid, _PATIENCE)
        if pod is None:
            uid = f" with UID {call.uid}" if call.uid else ""
            raise CallError(
                calls.LATER,
                f"{call.subject}{uid} is not known: the API server has not told of it in {_PATIENCE:g} s",
                "Which networks it has is in the pod, so it waits. It is tried again; see whether the node's "
                f"spiderpool-agent in namespace {self._around.settings.namespace} reaches the API server.",
            )
        return pod

    def _keep(self, call: Call, delegates: Sequence[Delegate], *, done: bool = False) -> Record:
        record = Record(
            container=call.container_id,
            interface=call.ifname,
            sandbox=call.sandbox,
            node=self._around.settings.node,
            namespace=call.namespace,
            name=call.name,
            uid=call.uid,
            delegates=tuple(delegates),
            done=done,
        )
        try:
            self._cache.write(record)
        except OSError as error:
            raise CallError(
                calls.IO,
                f"what {call.subject} is given cannot be noted: {error}",
                f"Is {self._around.settings.places.cache_dir} of the node mounted, with room?",
            ) from error
        return record

    async def _warn(self, call: Call, pod: Json) -> None:
        """Tell of interfaces on which a mesh loses connections, where its own plugin does not: it has istio-init.

        The pod starts: not all have to come by them.
        """
        if not swallowing.captures_itself(pod):
            return
        try:
            found = await asyncio.to_thread(swallowing.look, pod, call.netns)
        except OSError as error:
            log.info("%s: its interfaces cannot be looked at: %s", call.subject, error)
            return
        for each in found:
            problem = pod_analysis.swallowing(call.namespace, call.name, each.interface, each.version)
            log.warning("%s", problem)
            self._around.teller.tell(pod, problem.code, f"{problem.message} {problem.hint}")

    async def _clean(self, call: Call) -> None:
        """Take away what an ADD has left that was broken off; what is whole is not made a second time."""
        record = self._cache.read(call.container_id)
        if record is None:
            return
        if record.done:
            raise CallError(
                calls.ENVIRONMENT,
                f"container {call.container_id} has its networks already",
                "The runtime takes them away (DEL) before it makes them again.",
            )
        log.warning("%s: an ADD was broken off; what it has left is taken away first", call.subject)
        await self._detach(call, record)

    async def _attach(self, call: Call, made: list[Delegate]) -> None:
        """Attach one after the other; in `made` each is as far as it has come."""
        for place, each in enumerate(made):
            before = made[0].result if each.continues else None
            try:
                result = await self._delegator.add(_part(call, each), each.config, before)
                # it is there, whatever becomes of its routes
                of = 0 if each.continues else place
                made[of] = msgspec.structs.replace(made[of], result=result)
                if each.drop or each.gateways:
                    made[of] = msgspec.structs.replace(made[of], result=await self._route(call, each, result))
            except CallError as error:
                where = f"[{call.namespace}/{call.name}/{call.uid}:{each.config['name']}]"
                told = f'{where}: error adding container to network "{each.config["name"]}": {error.msg}'
                raise CallError(error.code, told, error.details or await self._about_master(each)) from error

    async def _about_master(self, each: Delegate) -> str:
        """What is wrong with the node's interface that a network is above, of which its plugin says too little."""
        masters = [plugin.get("master") for plugin in each.config.get("plugins") or ()]
        there = {link.name for link in await asyncio.to_thread(rtnetlink.links)}
        for master in masters:
            if isinstance(master, str) and master and master not in there:
                return (
                    f"Node {self._around.settings.node} has no interface {master}, which is the network's master. "
                    "Correct it in the SpiderMultusConfig, or keep the pod to nodes that have one."
                )
        return ""

    async def _route(self, call: Call, each: Delegate, result: Json) -> Json:
        """Change the default routes of a network, and what its result says of them."""
        gateways = [ip_address(written) for written in each.gateways]
        if not result.get("interfaces"):
            return result  # it made none
        try:
            await asyncio.to_thread(default_routes.change, call.netns, each.interface, each.drop, gateways)
        except OSError as error:
            raise CallError(calls.IO, f"default-route: {error}") from error
        return results.routed(result, each.drop, gateways)

    async def _detach(self, call: Call, record: Record) -> None:
        """Take all networks away, the last one first, whatever becomes of each; CallError of the first failure."""
        failed: CallError | None = None
        part = replace(call, command="DEL", namespace=record.namespace, name=record.name, uid=record.uid)
        for each in reversed(record.delegates):
            try:
                await self._delegator.delete(_part(part, each), each.config, each.result)
            except CallError as error:
                # a plugin that could not even begin (no such master, say) cannot take anything away either
                if each.result is not None or await _has(call, each.interface):
                    failed = failed or error
        if failed:
            raise failed
        self._cache.remove(record.container)

    async def _collect(self, call: Call, kept: list[Record]) -> list[CallError]:
        """Let every network that is in use, and our own plugins, collect what is left over."""
        failures, found = list[CallError](), dict[str, Json]()
        with contextlib.suppress(CallError):
            network = await self._chooser.first(await self._chooser.files())
            found[str(network["name"])] = network
        for record in kept:
            for each in record.delegates:
                found.setdefault(str(each.config["name"]), each.config)
        every = list[Json]()
        for name, network in found.items():
            valid = [
                {"containerID": record.container, "ifname": interface}
                for record in kept
                for wanted, interface in sorted(record.attachments)
                if wanted == name
            ]
            every += valid
            try:
                await self._delegator.collect(replace(call, config={_ATTACHMENTS: valid}), network)
            except CallError as error:
                failures.append(error)
        for plugin in self._plugins.values():
            try:
                await plugin.gc(replace(call, config={**call.config, _ATTACHMENTS: every}))
            except CallError as error:
                failures.append(error)
        return failures

    @contextlib.asynccontextmanager
    async def _turn(self, call: Call, deadline: float) -> AsyncIterator[None]:
        """Be one of few at a time, in the order of the calls."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._turns.acquire()
        except TimeoutError:
            raise CallError(
                calls.LATER,
                f"{call.subject}: too many pods begin on the node at once; its turn has not come in "
                f"{_TURN_SECONDS:g} s",
                "It is tried again, until those before it have their networks.",
            ) from None
        try:
            yield
        finally:
            self._turns.release()

    @contextlib.asynccontextmanager
    async def _alone(self, container: str) -> AsyncIterator[None]:
        """Let no two calls of one container be under way: the runtime may give up an ADD that goes on here."""
        lock = self._locks.setdefault(container, asyncio.Lock())
        self._waiting[container] += 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[container] -= 1
            if not self._waiting[container]:
                del self._waiting[container], self._locks[container]


def _part(call: Call, each: Delegate) -> Call:
    return replace(call, ifname=each.interface)


async def _has(call: Call, interface: str) -> bool:
    """Whether the pod has an interface."""
    if not call.netns:
        return False
    try:
        links = await asyncio.to_thread(netns.inside, call.netns, rtnetlink.links)
    except OSError:
        return False
    return any(each.name == interface for each in links)


def _failure(error: BaseException, call: Call) -> CallError:
    if isinstance(error, CallError):
        return error
    return CallError(
        calls.LATER,
        f"{call.subject}: its networks have not been attached in {_ADD_SECONDS:g} s",
        "What was made is taken away, and it is tried again. The log of spiderpool-agent says what took so long.",
    )


def _attached(made: Sequence[Delegate]) -> list[Attached]:
    return [
        Attached(network=each.network, result=each.result or {}, default=each.default, device=each.device)
        for each in made
        if not each.continues
    ]
