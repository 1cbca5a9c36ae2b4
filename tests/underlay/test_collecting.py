from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from weft.api.spider_endpoint import EndpointStatus, IPAllocation, PodIPAllocation, SpiderEndpoint
from weft.api.underlay_shape import ObjectMeta
from weft.underlay.addresses import Ranges
from weft.underlay.ipam import collecting, endpoints
from weft.underlay.ipam.allocation import Holder, State
from weft.underlay.ipam.collecting import Clash, Drop, Free, Note, Pod, Replicas, Rules, Take, World
from weft.underlay.ipam.pools import Pool

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
POOL = Pool("p", 4, ip_network("10.6.0.0/16"), Ranges.parse(["10.6.0.2-10.6.0.9"]), ip_address("10.6.0.1"))
ADDRESS = ip_address("10.6.0.2")
KEY = ("default", "a-0")
ENTRY = IPAllocation(
    interface="net1", ipv4="10.6.0.2/16", ipv4_pool="p", ipv4_gateway="10.6.0.1", clean_gateway=False
)
ALIVE = Pod("1", "node-1", owner=("StatefulSet", "a"))


def endpoint(
    uid: str = "1", *entries: IPAllocation, owner: tuple[str, str] = ("StatefulSet", "a")
) -> SpiderEndpoint:
    return SpiderEndpoint(
        metadata=ObjectMeta(name=KEY[1], namespace=KEY[0], resource_version="7"),
        status=EndpointStatus(
            current=PodIPAllocation(uid=uid, node="node-1", ips=entries or (ENTRY,)),
            owner_controller_type=owner[0],
            owner_controller_name=owner[1],
        ),
    )


WORLD = World(
    pools={"p": (POOL, State({ADDRESS: Holder("default/a-0", "1", "net1")}))},
    endpoints={KEY: endpoint()},
    pods={KEY: ALIVE},
    nodes={"node-1": True},
)
DEPLOYED = {KEY: endpoint(owner=("Deployment", "a"))}


def acts(world: World, rules: Rules = Rules(), *, later: float = 0) -> list[collecting.Act]:  # noqa: B008
    first = collecting.decide(world, rules, {}, NOW)
    if not later:
        return [*first.acts]
    return [*collecting.decide(world, rules, first.doubts, NOW + timedelta(seconds=later)).acts]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"pods": {}}, "the pod is gone"),
        ({"pods": {KEY: replace(ALIVE, uid="2")}}, "the pod is gone; another of its name is there (UID 2)"),
        ({"pods": {KEY: replace(ALIVE, ended=True)}}, "the pod has ended"),
        ({"nodes": {}}, "its node node-1 is gone"),
        ({"pods": {KEY: replace(ALIVE, until=NOW + timedelta(seconds=116))}}, ""),
        (
            {"pods": {KEY: replace(ALIVE, until=NOW - timedelta(seconds=6))}},
            "the pod was to have ended by 11:59:54",
        ),
        ({"pods": {}, "sets": {("default", "a"): Replicas(0, 1)}}, ""),
        ({"pods": {}, "sets": {("default", "a"): Replicas(0, 0)}}, "the pod is gone"),
        ({"pods": {}, "sets": {("default", "a"): Replicas(1, 3)}}, "the pod is gone"),
        ({"pods": {}, "sets": {("other", "a"): Replicas(0, 1)}}, "the pod is gone"),
        ({"pods": {}, "sets": {("default", "a"): Replicas(0, 1)}, "endpoints": DEPLOYED}, "the pod is gone"),
        ({"pods": {}, "machines": frozenset({KEY})}, ""),
        ({"pods": {("default", "virt-launcher-x"): Pod("9", machine="a-0")}}, ""),
        ({"pods": {("default", "virt-launcher-x"): Pod("9", machine="a-0", ended=True)}}, "the pod is gone"),
    ],
)
def test_an_address_goes_back_once_nobody_has_a_use_for_it(changes: dict[str, object], why: str) -> None:
    found = acts(replace(WORLD, **changes), later=120)  # type: ignore[arg-type]
    holder = Holder("default/a-0", "1", "net1")
    assert found == ([Free("p", ADDRESS, holder, why), Drop(*KEY, "1", "7", why)] if why else [])


def test_a_node_that_is_ready_has_time_to_end_pods_before_their_addresses_are_anothers() -> None:
    gone = replace(WORLD, pods={})
    assert acts(gone) == acts(gone, later=119) == []
    assert len(acts(gone, later=120)) == 2
    late = replace(WORLD, pods={KEY: replace(ALIVE, until=NOW - timedelta(hours=1))})
    assert acts(late) == acts(late, later=119) == []
    assert len(acts(late, later=120)) == 2
    assert len(acts(replace(late, nodes={"node-1": False}))) == 2
    assert len(acts(replace(gone, nodes={"node-1": False}))) == 2
    assert len(acts(replace(gone, nodes={}))) == 2
    assert len(acts(replace(WORLD, pods={KEY: replace(ALIVE, ended=True)}))) == 2


def test_what_lasts_and_who_is_overdue_can_be_chosen() -> None:
    none = Rules(stateful_sets=False, kubevirt=False, overdue_on_ready_nodes=False)
    gone = replace(WORLD, pods={}, sets={("default", "a"): Replicas(0, 1)}, machines=frozenset({KEY}))
    assert len(acts(gone, none, later=120)) == 2
    overdue = replace(WORLD, pods={KEY: replace(ALIVE, until=NOW - timedelta(hours=1))})
    assert acts(overdue, none) == []
    assert len(acts(replace(overdue, nodes={"node-1": False}), none)) == 2
    others = Rules(overdue_on_other_nodes=False)
    assert acts(replace(overdue, nodes={"node-1": False}), others) == []


def test_what_may_be_under_way_is_looked_at_twice() -> None:
    lost = replace(WORLD, pools={"p": (POOL, State())})
    assert acts(lost) == []
    assert acts(lost, later=29) == []
    mine = Holder("default/a-0", "1", "net1")
    assert acts(lost, later=30) == [Take("p", ADDRESS, mine, "the endpoint of default/a-0 says that it has it")]
    # what was so, was not so, and is so again, begins anew
    doubts = collecting.decide(lost, Rules(), {}, NOW).doubts
    doubts = collecting.decide(WORLD, Rules(), doubts, NOW + timedelta(seconds=15)).doubts
    assert doubts == {}


def test_a_pool_and_an_endpoint_that_differ_are_made_the_same() -> None:
    without = replace(WORLD, endpoints={})
    why = "pool p says that it has 10.6.0.2"
    assert acts(without, later=30) == [Note(*KEY, ENTRY, ALIVE, why)]
    two = {ADDRESS: Holder("default/a-0", "1", "net1"), ip_address("10.6.0.3"): Holder("default/a-0", "1", "net1")}
    twice = replace(WORLD, pools={"p": (POOL, State(two))})
    assert acts(twice, later=30) == [
        Free("p", ip_address("10.6.0.3"), two[ADDRESS], "default/a-0 has 10.6.0.2 of pool p on net1 instead")
    ]
    # the endpoint is about to be written for a new pod
    assert (
        acts(replace(twice, endpoints={KEY: endpoint("0")}, sets={("default", "a"): Replicas(0, 1)}), later=30)
        == []
    )


def test_what_cannot_be_cured_is_told() -> None:
    theirs = replace(WORLD, pools={"p": (POOL, State({ADDRESS: Holder("default/b", "1", "net1")}))})
    theirs = replace(theirs, pods={**WORLD.pods, ("default", "b"): Pod("1", "node-1")})
    found = acts(theirs, later=30)
    assert Clash(*KEY, "10.6.0.2 is also default/b's by pool p") in found
    assert acts(replace(WORLD, pools={}), later=30) == [Clash(*KEY, "10.6.0.2 is of pool p, which does not exist")]


def pod(name: str, kind: str = "", owner: str = "", **labels: str) -> dict[str, object]:
    api = "kubevirt.io/v1" if kind == endpoints.MACHINE else "apps/v1"
    owners = [{"apiVersion": api, "kind": kind, "name": owner, "controller": True}] if kind else []
    meta = {"namespace": "default", "name": name, "uid": "1", "labels": labels, "ownerReferences": owners}
    return {"metadata": meta}


@pytest.mark.parametrize(
    ("found", "name", "owner", "lasts"),
    [
        (pod("a"), "a", ("Pod", "a"), False),
        (pod("a-7f-x", "ReplicaSet", "a-7f", **{"pod-template-hash": "7f"}), "a-7f-x", ("Deployment", "a"), False),
        (pod("a-x", "ReplicaSet", "a"), "a-x", ("ReplicaSet", "a"), False),
        (pod("a-0", "StatefulSet", "a"), "a-0", ("StatefulSet", "a"), True),
        (pod("virt-launcher-v-x", endpoints.MACHINE, "v"), "v", (endpoints.MACHINE, "v"), True),
        (
            pod("virt-launcher-v-x", **{"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": "v"}),
            "v",
            (endpoints.MACHINE, "v"),
            True,
        ),
    ],
)
def test_addresses_belong_to_a_pod_or_to_a_name_that_lasts(
    found: dict[str, object], name: str, owner: tuple[str, str], *, lasts: bool
) -> None:
    whose = endpoints.subject(found, stateful_sets=True, kubevirt=True)
    assert (whose.name, whose.owner, whose.lasts) == (name, owner, lasts)
    plain = endpoints.subject(found, stateful_sets=False, kubevirt=False)
    assert (plain.key, plain.lasts) == (f"default/{found['metadata']['name']}", False)  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "owner", "number"), [("a-0", "a", 0), ("a-12", "a", 12), ("a-01", "a", None), ("b-a-1", "a", None)]
)
def test_an_ordinal_is_read_of_a_pods_name(name: str, owner: str, number: int | None) -> None:
    assert endpoints.ordinal(name, owner) == number


def test_interfaces_keep_their_places() -> None:
    first = endpoints.with_entry(PodIPAllocation(), ENTRY, "1", "node-1")
    second = endpoints.with_entry(first, IPAllocation(interface="net2"), "1", "node-1")
    assert [endpoints.number(second, each) for each in ("net1", "net2", "net3")] == [0, 1, 2]
    again = endpoints.with_entry(second, IPAllocation(interface="net1", ipv4="10.6.0.3/16"), "1", "node-1")
    assert [each.interface for each in again.ips] == ["net1", "net2"]
