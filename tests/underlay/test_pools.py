from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

import pytest

from weft.api.spider_ippool import IPPoolSpec, SpiderIPPool
from weft.api.underlay_shape import LabelSelector, ObjectMeta, Requirement
from weft.underlay.ipam import annotations, pools
from weft.underlay.ipam.annotations import InvalidAnnotationError, Names
from weft.underlay.ipam.pools import Asker, Pool, Source

ASKER = Asker({"app": "web"}, "shop", {"team": "a"}, "node-1", {"zone": "east"}, "kube-system/macvlan")
EAST = LabelSelector(match_labels={"zone": "east"})
WEST = LabelSelector(match_labels={"zone": "west"})


def pool(name: str, *, deleted: str | None = None, **fields: object) -> Pool:
    spec = {"subnet": "10.6.0.0/16", "ips": ("10.6.0.2-10.6.0.9",), **fields}
    meta = ObjectMeta(name=name, deletion_timestamp=deleted)
    return pools.read(SpiderIPPool(metadata=meta, spec=IPPoolSpec(**spec)))  # type: ignore[arg-type]


def tried(*known: Pool, names: tuple[str, ...] = ("*",)) -> tuple[list[str], list[str]]:
    found = pools.candidates(names, 4, {each.name: each for each in known}, ASKER, "kube-system")
    return [each.name for each in found.fit], [str(each) for each in found.passed]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"deleted": "2026-01-01T00:00:00Z"}, "it is being deleted"),
        ({"disable": True}, "disabled (spec.disable: true)"),
        ({"subnet": "fd00::/64", "ips": ("fd00::1",)}, "of IPv6, and IPv4 is wanted"),
        ({"node_name": ("node-2",)}, "for other nodes (spec.nodeName has no node-1)"),
        ({"node_name": ("node-1",), "node_affinity": WEST}, ""),
        ({"node_affinity": WEST}, "for other nodes (spec.nodeAffinity is not for the labels of node-1)"),
        ({"node_affinity": EAST}, ""),
        ({"namespace_name": ("default",)}, "for other namespaces (spec.namespaceName has no shop)"),
        ({"namespace_name": ("shop",), "namespace_affinity": WEST}, ""),
        (
            {"namespace_affinity": WEST},
            "for other namespaces (spec.namespaceAffinity is not for the labels of shop)",
        ),
        ({"pod_affinity": EAST}, "for other pods (spec.podAffinity is not for this pod's labels)"),
        ({"pod_affinity": LabelSelector(match_labels={"app": "web"})}, ""),
        ({"multus_name": ("default/macvlan",)}, "for other networks (spec.multusName has no kube-system/macvlan)"),
        ({"multus_name": ("default/x", "macvlan")}, ""),
    ],
)
def test_a_pool_serves_or_says_why_not(fields: Mapping[str, object], why: str) -> None:
    fit, passed = tried(pool("p", **fields))  # type: ignore[arg-type]
    assert (fit, passed) == (([], [f"pool p: {why}"]) if why else (["p"], []))


def test_pools_can_have_to_be_of_the_masters_subnets() -> None:
    known = {each.name: each for each in (pool("near"), pool("far", subnet="10.7.0.0/16", ips=("10.7.0.2",)))}
    asker = replace(ASKER, master="ens192", subnets=frozenset({ip_network("10.6.0.0/16")}))
    found = pools.candidates(("*",), 4, known, asker, "kube-system")
    assert [each.name for each in found.fit] == ["near"]
    assert "ens192 of node-1 has no address in 10.7.0.0/16" in str(found.passed[0])


def test_names_are_tried_as_they_are_written_and_wildcards_by_name() -> None:
    known = [pool(name) for name in ("a-1", "a-2", "b-1", "c")]
    assert tried(*known, names=("c", "a-*", "b-[12]", "a-1", "a-?")) == (["c", "a-1", "a-2", "b-1"], [])
    assert tried(*known, names=("b-[^1]", "z", "c")) == (
        ["c"],
        ["pool b-[^1]: no pool has a name like this", "pool z: it does not exist"],
    )


def test_pools_that_are_made_for_somebody_go_first() -> None:
    known = [
        pool("all"),
        pool("network", multus_name=("macvlan",)),
        pool("namespace-labels", namespace_affinity=LabelSelector(match_labels={"team": "a"})),
        pool("namespace", namespace_name=("shop",)),
        pool("node-labels", node_affinity=EAST),
        pool("node", node_name=("node-1",)),
        pool("pods", pod_affinity=LabelSelector(match_labels={"app": "web"})),
    ]
    written = tuple(each.name for each in known)
    assert tried(*known, names=written)[0] == [*reversed(written)]


def test_selectors_have_expressions() -> None:
    fits = {
        Requirement(key="app", operator="In", values=("web",)): True,
        Requirement(key="app", operator="NotIn", values=("web",)): False,
        Requirement(key="app", operator="Exists"): True,
        Requirement(key="app", operator="DoesNotExist"): False,
    }
    for one, fit in fits.items():
        assert pools.selects(LabelSelector(match_expressions=(one,)), ASKER.labels) == fit


def test_the_first_source_that_names_pools_wins() -> None:
    pod = annotations.named({annotations.IPPOOL: '{"ipv4":["p"]}'}, "eth0", 0)
    namespace, nad = Names(ipv4=("n",)), Names(ipv6=("d",))
    known = [pool("z", default=True), pool("y", default=True), pool("x")]
    nothing = Names()

    def names(found: Source) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return found.of(4), found.of(6)

    assert names(pools.source(pod, namespace, nad, known)) == (("p",), ())
    assert names(pools.source(None, namespace, nad, known)) == (("n",), ())
    assert names(pools.source(None, nothing, nad, known)) == ((), ("d",))
    assert names(pools.source(None, nothing, nothing, known)) == (("y", "z"), ())


def test_interfaces_have_pools_by_name_or_by_order() -> None:
    listed = {
        annotations.IPPOOLS: '[{"ipv4":["a"]},{"interface":"net2","ipv4":["b"],"cleangateway":true},'
        '{"ipv6":["c"]}]',
        annotations.IPPOOL: '{"ipv4":["d"]}',
    }

    def of(interface: str, number: int) -> Names:
        found = annotations.named(listed, interface, number)
        assert found is not None
        return found.names

    assert of("eth0", 0).ipv4 == ("a",)
    assert of("net1", 1).ipv6 == ("c",)
    assert of("net2", 2) == Names("net2", ("b",), None, cleangateway=True)
    assert of("net3", 3).ipv4 == ("d",)
    subnets = listed | {annotations.SUBNET: '{"ipv4":["s"]}'}
    found = annotations.named(subnets, "net1", 1)
    assert found is not None
    assert (found.annotation, found.names.ipv4) == (annotations.SUBNET, ("s",))


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        (annotations.IPPOOL, "{", "truncated. Write it like this"),
        (annotations.IPPOOL, '{"ipv4pools":["a"]}', "unknown field `ipv4pools`"),
        (annotations.IPPOOL, '{"ipv4":[]}', "it names nothing"),
        (annotations.IPPOOL, '{"ipv4":[""]}', "a name in it is empty"),
        (annotations.IPPOOLS, "[]", "it is empty"),
        (annotations.IPPOOLS, '[{"interface":"net1"}]', "it names nothing for net1"),
        (
            annotations.IPPOOLS,
            '[{"interface":"a","ipv4":["a"]},{"interface":"a","ipv4":["a"]}]',
            "a is in it twice",
        ),
    ],
)
def test_an_annotation_that_cannot_be_followed_is_named_with_its_form(key: str, text: str, why: str) -> None:
    with pytest.raises(InvalidAnnotationError) as caught:
        annotations.named({key: text}, "eth0", 0)
    assert f"annotation {key}: " in str(caught.value)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[{"dst":"10.7.0.1/16","gw":"10.6.0.1"}]', "within 10.7.0.0/16"),
        ('[{"dst":"10.7.0.0/16","gw":"fd00::1"}]', "two IP versions"),
        ('[{"dst":"10.7.0.0/16"}]', "missing required field `gw`"),
    ],
)
def test_routes_that_cannot_be_are_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidAnnotationError, match=why):
        annotations.routes({annotations.ROUTES: text})
