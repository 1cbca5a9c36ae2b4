"""The plugin `spiderpool` (CNI ipam): gives a pod's interface its addresses, and takes them back."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import aiohttp

from weft.adapters import rtnetlink
from weft.adapters.kube.client import ApiError
from weft.adapters.kube.kinds import PODS, SPIDERENDPOINTS
from weft.api.spider_endpoint import IPAllocation
from weft.processes.cni import calls
from weft.processes.cni.calls import CallError
from weft.processes.underlay.ipam_endpoints import Endpoints
from weft.processes.underlay.ipam_leasing import Leasing, Manner, NoAddressError, Seeker
from weft.processes.underlay.ipam_meters import ALLOCATION, INTERNAL, RELEASE, RETRIES, Meters
from weft.processes.underlay.ipam_places import Places
from weft.processes.underlay.ipam_pools import PoolBusyError, Pools
from weft.processes.underlay.ipam_probing import Prober
from weft.processes.underlay.plugins import Call, Json, Surroundings
from weft.underlay.addresses import Address, Network, NotAddressesError, Ranges, Version, parse_address
from weft.underlay.ipam import annotations, auto_pools, endpoints, pools
from weft.underlay.ipam import result as ipam_result
from weft.underlay.ipam.allocation import Release
from weft.underlay.ipam.annotations import InvalidAnnotationError, Named
from weft.underlay.ipam.endpoints import Subject
from weft.underlay.ipam.pool_status import UnreadableStatusError
from weft.underlay.ipam.pools import Asker
from weft.underlay.ipam.result import InvalidConfigError
from weft.underlay.networks import asked as networks

NO_ADDRESS: Final = 103
"""CNI code: no pool has an address for the pod."""
FAILED: Final = "FailedAllocateIP"
"""Reason of events."""

_POD_SECONDS: Final = 30.0
_POOL_SECONDS: Final = 20.0
"""How long a pod waits for the pool of its application to be made."""
_LOOK: Final = 0.1
_OVER: Final = frozenset({"Succeeded", "Failed"})
_USERS: Final = (InvalidAnnotationError, InvalidConfigError, NotAddressesError)
_TROUBLE: Final = (ApiError, aiohttp.ClientError, OSError, TimeoutError)
_FAULTS: Final = (PoolBusyError, UnreadableStatusError, NotAddressesError)

log = logging.getLogger("weft.underlay.ipam")


class Ipam:
    """Give `run` a task, and call. `now` gives the time."""

    def __init__(self, around: Surroundings, now: Callable[[], datetime]) -> None:
        settings, monotonic = around.settings, around.monotonic
        chosen = settings.addresses
        self._kube, self._pods, self._teller = around.kube, around.pods, around.teller
        self._monotonic, self._chosen, self._node = monotonic, chosen, settings.node
        self._own, self._first = settings.namespace, settings.multus.default
        self._meters, rest = Meters(around.registry), timedelta(seconds=chosen.rest)
        self._pools = Pools(around.kube, self._meters, now=now, monotonic=monotonic, rest=rest)
        self._places = Places(around.kube, self._node)
        self._endpoints = Endpoints(around.kube)
        versions: dict[Version, bool] = {4: chosen.ipv4, 6: chosen.ipv6}
        manner = Manner(
            own=settings.namespace,
            versions=frozenset(version for version, is_on in versions.items() if is_on),
            conflicts=chosen.conflicts,
            gateways=chosen.gateways,
            patience=2 * rest,
        )
        self._leasing = Leasing(self._pools, Prober(monotonic), manner, now)

    async def run(self) -> None:
        """Follow what decisions are made of, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pools.run())
            group.create_task(self._places.run())

    @property
    def reserved(self) -> Ranges:
        """What no pod gets, as it is known here."""
        return self._pools.reserved

    async def add(self, call: Call) -> Json:
        """Addresses for the interface: what it has already, or new ones."""
        began = self._monotonic()
        pod: Json | None = None
        try:
            pod = await self._living(call)
            entry = await self._given(call, pod)
        except (NoAddressError, CallError, *_USERS, *_FAULTS, *_TROUBLE) as error:
            failure, why = _failure(call, error)
            self._meters.failed(ALLOCATION, why, self._monotonic() - began)
            if pod is not None:
                self._teller.tell(pod, FAILED, failure.msg)
            raise failure from error
        self._meters.done(ALLOCATION, self._monotonic() - began)
        return ipam_result.result(entry)

    async def delete(self, call: Call) -> None:
        """Take back what the pod has, if it is over. One that lives keeps it: its sandbox may just be made anew.

        Whatever fails here is repaired by the controller, which finds that the pod is gone. So it does not hold up
        the pod's end.
        """
        began = self._monotonic()
        try:
            released = await self._taken_back(call)
        except (*_FAULTS, *_TROUBLE) as error:
            why = RETRIES if isinstance(error, PoolBusyError) else INTERNAL
            self._meters.failed(RELEASE, why, self._monotonic() - began)
            log.warning("%s: its addresses are left to the collector: %s", call.subject, error)
            return
        if released:
            self._meters.done(RELEASE, self._monotonic() - began)

    async def check(self, call: Call) -> None:
        """Fail where the interface does not have what its endpoint, its pools and the result before say."""
        try:
            pod = await self._living(call)
            whose = self._subject(pod)
            found = await self._endpoints.find(whose.namespace, whose.name)
        except _TROUBLE as error:
            raise CallError(calls.LATER, f"spiderpool: {call.subject}: {error}") from error
        entry = endpoints.held(endpoints.current(found, whose), call.ifname)
        if entry is None:
            raise CallError(NO_ADDRESS, f"spiderpool: SpiderEndpoint {whose.key} has nothing of {call.ifname}")
        held = {(pool.name, address) for pool, address, _ in self._pools.of(whose.uid)}
        for pool, address in endpoints.addresses(entry).values():
            if (pool, address) not in held:
                raise CallError(NO_ADDRESS, f"spiderpool: pool {pool} does not say that {whose.key} has {address}")
        before = call.config.get("prevResult") or {}
        listed = {str(each.get("address", "")) for each in before.get("ips") or ()}
        missing = [each for each in (entry.ipv4, entry.ipv6) if each and each not in listed]
        if before and missing:
            raise CallError(NO_ADDRESS, f"spiderpool: {call.ifname} of {whose.key} does not have {missing[0]}")

    async def gc(self, _: Call) -> None:
        """Take back what pods of this node have that are over. Which sandboxes there are does not matter to us."""
        try:
            listed = await self._kube.list(SPIDERENDPOINTS)
            for each in listed:
                status = each.get("status") or {}
                current = status.get("current") or {}
                if current.get("node") == self._node and not self._lasts(status.get("ownerControllerType", "")):
                    meta = each["metadata"]
                    if await self._is_over(meta["namespace"], meta["name"], current.get("uid", "")):
                        await self._release(meta["namespace"], meta["name"], current.get("uid", ""))
        except (*_FAULTS, *_TROUBLE) as error:
            raise CallError(calls.LATER, f"spiderpool: GC: {error}") from error

    async def status(self, _: Call) -> None:
        """Fail while it is not known what pools there are."""
        if not self._pools.synced.is_set():
            raise CallError(
                calls.UNAVAILABLE, "spiderpool: the API server has not told which SpiderIPPools there are yet"
            )

    async def _living(self, call: Call) -> Json:
        if not call.name:
            raise CallError(
                calls.ENVIRONMENT,
                "spiderpool: CNI_ARGS names no pod",
                "Addresses are given to Kubernetes' pods only.",
            )
        pod = await self._pods.find(call.namespace, call.name, call.uid, _POD_SECONDS)
        if pod is None:
            raise CallError(calls.LATER, f"spiderpool: {call.subject} is not known to the API server")
        if pod["metadata"].get("deletionTimestamp") or _phase(pod) in _OVER:
            raise _ending(call)
        return pod

    async def _given(self, call: Call, pod: Json) -> IPAllocation:
        await self._pools.synced.wait()
        whose, noted = self._subject(pod), pod["metadata"].get("annotations") or {}
        found, namespace, node = await asyncio.gather(
            self._endpoints.find(whose.namespace, whose.name),
            self._places.namespace(call.namespace),
            self._places.node(),
        )
        current = endpoints.current(found, whose)
        before = endpoints.held(current, call.ifname)
        nad = ipam_result.named_by(call.config)
        named = await self._named(noted, whose, call.ifname, endpoints.number(current, call.ifname))
        wanted = annotations.routes(noted)
        source = pools.source(
            named, annotations.defaults(namespace.annotations or {}), nad, self._pools.all().values()
        )
        seeker = Seeker(
            whose=whose,
            interface=call.ifname,
            asker=Asker(
                labels={
                    **(pod["metadata"].get("labels") or {}),
                    **auto_pools.owner_labels(whose.owner[0], whose.namespace, whose.owner[1]),
                },
                namespace=call.namespace,
                namespace_labels=namespace.labels or {},
                node=self._node,
                node_labels=node.labels or {},
                network=networks.of_interface(noted, call.namespace, call.ifname, self._first, self._own),
            ),
            source=source,
            kept=endpoints.addresses(before) if before else {},
            only=_by_version(ipam_result.asked_for(call.config)),
            netns=call.netns,
        )
        if master := ipam_result.master_to_match(call.config):
            subnets = await asyncio.to_thread(_subnets, master)
            seeker = replace(seeker, asker=replace(seeker.asker, master=master, subnets=subnets))
        leases = await self._leasing.lease(seeker)
        await self._look_again(call, whose)
        entry = endpoints.allocation(
            call.ifname,
            leases,
            clean_gateway=nad.cleangateway or source.names.cleangateway,
            routes=ipam_result.routes((each.pool for each in leases.values()), wanted),
        )
        await self._endpoints.note(whose, self._node, entry, found)
        return entry

    async def _look_again(self, call: Call, whose: Subject) -> None:
        """A pod that ended while it waited leaves nothing behind: nobody tells us of its end a second time."""
        pod = await self._pods.find(call.namespace, call.name, whose.uid, 0)
        if whose.lasts or (pod is not None and not _is_over(pod)):
            return
        if await self._is_over(call.namespace, call.name, whose.uid):
            await self._release(call.namespace, call.name, whose.uid)
            raise _ending(call)

    async def _named(self, noted: Mapping[str, str], whose: Subject, interface: str, number: int) -> Named | None:
        """What the pod's annotations name. Of subnets, the pools that the controller makes: they may come yet."""
        kept = noted if self._chosen.subnets else annotations.without_subnets(noted)
        named = annotations.named(kept, interface, number)
        if named is None or not annotations.asks_for_subnet(kept):
            return named
        owner = (whose.owner[0], whose.namespace, whose.owner[1])
        until = self._monotonic() + _POOL_SECONDS
        while (found := auto_pools.made_for(named, self._pools.all().values(), owner, number)) is None:
            if self._monotonic() > until:
                subnets = ", ".join((*(named.names.ipv4 or ()), *(named.names.ipv6 or ())))
                raise CallError(
                    calls.LATER,
                    f"spiderpool: no pool of SpiderSubnet {subnets} has been made for {owner[0]} "
                    f"{whose.namespace}/{owner[2]} yet",
                    f"See why: kubectl describe {owner[0].lower()} {owner[2]} -n {whose.namespace}",
                )
            await asyncio.sleep(_LOOK)
        return found

    async def _taken_back(self, call: Call) -> bool:
        """Whether there was anything to take back."""
        if not call.name:
            return False
        pod = await self._pods.find(call.namespace, call.name, call.uid, 0)
        uid = str(pod["metadata"]["uid"]) if pod is not None else call.uid
        if not uid:
            return False
        if (pod is None or not _is_over(pod)) and not await self._is_over(call.namespace, call.name, uid):
            return False
        if pod is not None and self._subject(pod).lasts:
            return False
        return await self._release(call.namespace, call.name, uid)

    async def _is_over(self, namespace: str, name: str, uid: str) -> bool:
        """Whether the API server itself says that a pod is over: our watch may be behind."""
        try:
            return _is_over(pod := await self._kube.get(PODS, name, namespace)) or pod["metadata"]["uid"] != uid
        except ApiError as error:
            if error.code != 404:
                raise
            return True

    async def _release(self, namespace: str, name: str, uid: str) -> bool:
        """Give back what a UID has, and delete its endpoint; not what a name keeps."""
        found = await self._endpoints.find(namespace, name)
        is_its = found is not None and found.status.current.uid == uid
        if found is not None and is_its and self._lasts(found.status.owner_controller_type):
            return False
        named = {pool.name for pool, _, _ in self._pools.of(uid)}
        await asyncio.gather(*(self._pools.ask(each, Release(uid)) for each in named))
        if found is not None and is_its:
            await self._endpoints.drop(found)
        return bool(named)

    def _subject(self, pod: Json) -> Subject:
        return endpoints.subject(pod, stateful_sets=self._chosen.stateful_sets, kubevirt=self._chosen.kubevirt)

    def _lasts(self, owner: str) -> bool:
        chosen = self._chosen
        lasting = {endpoints.STATEFUL_SET: chosen.stateful_sets, endpoints.MACHINE: chosen.kubevirt}
        return lasting.get(owner, False)


def _failure(call: Call, error: Exception) -> tuple[CallError, str]:
    """An error as the runtime is told, and the name under which it is counted."""
    match error:
        case CallError():
            return error, INTERNAL
        case NoAddressError():
            return CallError(NO_ADDRESS, f"spiderpool: {error}"), error.why
        case PoolBusyError() | UnreadableStatusError():
            return CallError(calls.LATER, f"spiderpool: {call.subject}: {error}"), RETRIES
        case InvalidAnnotationError() | InvalidConfigError() | NotAddressesError():
            return CallError(calls.CONFIG, f"spiderpool: {call.subject}: {error}"), INTERNAL
    told = f"spiderpool: {call.subject}: the API server does not help ({type(error).__name__}: {error})"
    return CallError(calls.LATER, told), INTERNAL


def _ending(call: Call) -> CallError:
    return CallError(NO_ADDRESS, f"spiderpool: {call.subject} is ending: it gets no address any more")


def _subnets(master: str) -> frozenset[Network]:
    """The networks that an interface of the node has addresses of."""
    return frozenset(
        address.network for link in rtnetlink.links() if link.name == master for address in link.addresses
    )


def _by_version(texts: tuple[str, ...]) -> Mapping[Version, Address]:
    found = [parse_address(each) for each in texts]
    return {each.version: each for each in found}


def _phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def _is_over(pod: Mapping[str, Any]) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp")) or _phase(pod) in _OVER
