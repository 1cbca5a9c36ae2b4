import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.api.spider_ippool import SpiderIPPool
from weft.api.spider_reserved_ip import SpiderReservedIP
from weft.api.spider_subnet import SpiderSubnet
from weft.underlay.addresses import Ranges
from weft.underlay.admission.pool_checks import addresses
from weft.underlay.ipam import auto_pools
from weft.underlay.ipam.annotations import Named, Names
from weft.underlay.ipam.auto_pools import Application
from weft.underlay.ipam.pools import read
from weft.underlay.ipam.subnets import Create, Delete, Resize, Step, Tell, plan, status

Json = dict[str, Any]
UID = "bea129aa-acf5-40cb-8669-337dc1e95a41"
USUAL = {"subnet": '{"ipv4":["subnet-6"]}'}
SUBNET = msgspec.convert(
    {
        "metadata": {"name": "subnet-6"},
        "spec": {
            "subnet": "10.6.0.0/16",
            "ips": ["10.6.1.10-10.6.1.19"],
            "gateway": "10.6.0.1",
            "routes": [{"dst": "10.7.0.0/16", "gw": "10.6.0.1"}],
        },
    },
    SpiderSubnet,
)
SIX = msgspec.convert(
    {"metadata": {"name": "six"}, "spec": {"subnet": "fd00:6::/64", "ips": ["fd00:6::1-fd00:6::ff"]}}, SpiderSubnet
)


MINE = msgspec.convert(
    {"metadata": {"name": "mine"}, "spec": {"subnet": "10.6.0.0/16", "ips": ["10.6.1.19"]}}, SpiderIPPool
)


def app(pods: int = 2, noted: dict[str, str] | None = None, uid: str = UID, name: str = "web") -> Application:
    keyed = {f"ipam.spidernet.io/{key}": value for key, value in (noted or USUAL).items()}
    return Application("Deployment", "shop", name, uid, pods, keyed)


def pool(manifest: Json, taken: tuple[str, ...] = ()) -> SpiderIPPool:
    who = {each: {"pod": "shop/web-0", "podUid": "u"} for each in taken}
    return msgspec.convert(manifest | {"status": {"allocatedIPs": json.dumps(who) if who else None}}, SpiderIPPool)


def steps(*applications: Application, pools: tuple[SpiderIPPool, ...] = (), **more: Any) -> list[Step]:
    return list(plan((SUBNET, SIX), pools, more.get("reserved", ()), applications, more.get("flexible", 1)))


def test_an_application_that_names_a_subnet_gets_a_pool_of_its_own() -> None:
    (step,) = steps(app())
    assert isinstance(step, Create)
    assert step.manifest == {
        "metadata": {
            "name": "auto4-web-eth0-95a41",
            "labels": {
                "ipam.spidernet.io/interface": "eth0",
                "ipam.spidernet.io/ip-version": "IPv4",
                "ipam.spidernet.io/ippool-reclaim": "true",
                "ipam.spidernet.io/owner-application-gv": "apps_v1",
                "ipam.spidernet.io/owner-application-kind": "Deployment",
                "ipam.spidernet.io/owner-application-name": "web",
                "ipam.spidernet.io/owner-application-namespace": "shop",
                "ipam.spidernet.io/owner-application-uid": UID,
                "ipam.spidernet.io/owner-spider-subnet": "subnet-6",
            },
        },
        "spec": {
            "subnet": "10.6.0.0/16",
            "ips": ["10.6.1.10-10.6.1.12"],
            "gateway": "10.6.0.1",
            "routes": [{"dst": "10.7.0.0/16", "gw": "10.6.0.1"}],
            "podAffinity": {
                "matchLabels": {
                    "ipam.spidernet.io/app-api-group": "apps",
                    "ipam.spidernet.io/app-api-version": "v1",
                    "ipam.spidernet.io/app-kind": "Deployment",
                    "ipam.spidernet.io/app-namespace": "shop",
                    "ipam.spidernet.io/app-name": "web",
                }
            },
        },
    }


@pytest.mark.parametrize(
    ("annotations", "made"),
    [
        ({"subnet": '{"ipv4":["subnet-6"]}', "ippool-ip-number": "5"}, {"auto4-web-eth0-95a41": 5}),
        ({"subnet": '{"ipv4":["subnet-6"]}', "ippool-ip-number": "+3"}, {"auto4-web-eth0-95a41": 5}),
        (
            {"subnet": '{"ipv4":["absent","subnet-6"],"ipv6":["six"]}'},
            {"auto4-web-eth0-95a41": 3, "auto6-web-eth0-95a41": 3},
        ),
        (
            {"subnets": '[{"ipv4":["subnet-6"]},{"ipv4":["subnet-6"]},{"interface":"net7","ipv6":["six"]}]'},
            {"auto4-web-eth0-95a41": 3, "auto4-web-net1-95a41": 3, "auto6-web-net7-95a41": 3},
        ),
    ],
)
def test_annotations_say_which_interfaces_have_how_many(annotations: dict[str, str], made: dict[str, int]) -> None:
    found = {
        step.manifest["metadata"]["name"]: Ranges.parse(step.manifest["spec"]["ips"]).size
        for step in steps(app(2, annotations))
        if isinstance(step, Create)
    }
    assert found == made


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"subnet": "subnet-6"}, "annotation ipam.spidernet.io/subnet: JSON is malformed"),
        (
            {"subnet": '{"ipv4":["subnet-6"]}', "ippool-ip-number": "many"},
            'annotation ipam.spidernet.io/ippool-ip-number: "many"',
        ),
        (
            {"subnet": '{"ipv4":["subnet-6"]}', "ippool-ip-number": "11"},
            "SpiderSubnet subnet-6 has not 11 IPv4 addresses for eth0.",
        ),
    ],
)
def test_what_cannot_be_had_is_told(annotations: dict[str, str], said: str) -> None:
    (step,) = steps(app(2, annotations))
    assert isinstance(step, Tell)
    assert step.message.startswith(said)


def test_a_pool_grows_and_shrinks_with_its_application_but_keeps_addresses_in_use() -> None:
    (made,) = steps(app(2))
    assert isinstance(made, Create)
    name = "auto4-web-eth0-95a41"
    assert steps(app(2), pools=(pool(made.manifest),)) == []
    assert steps(app(4), pools=(pool(made.manifest),)) == [Resize(name, "", ("10.6.1.10-10.6.1.14",))]
    used = pool(made.manifest, ("10.6.1.12",))
    assert steps(app(0), pools=(used,)) == [Resize(name, "", ("10.6.1.12",))]
    assert steps(app(1), pools=(used,)) == [Resize(name, "", ("10.6.1.10", "10.6.1.12"))]


def test_addresses_that_are_reserved_or_another_pools_are_not_given() -> None:
    other = msgspec.convert(
        {"metadata": {"name": "mine"}, "spec": {"subnet": "10.6.0.0/16", "ips": ["10.6.1.10"]}}, SpiderIPPool
    )
    reserved = msgspec.convert({"spec": {"ips": ["10.6.1.12"]}}, SpiderReservedIP)
    (step,) = steps(app(1), pools=(other,), reserved=(reserved,))
    assert isinstance(step, Create)
    assert step.manifest["spec"]["ips"] == ["10.6.1.11", "10.6.1.13"]


def test_a_pool_goes_with_its_application_unless_it_is_to_stay() -> None:
    (made,) = steps(app())
    (kept,) = steps(app(2, USUAL | {"ippool-reclaim": "false"}))
    assert isinstance(made, Create)
    assert isinstance(kept, Create)
    assert steps(pools=(pool(made.manifest),)) == [Delete("auto4-web-eth0-95a41", "")]
    assert steps(pools=(pool(kept.manifest),)) == []
    # what it asks for cannot be read: that is no reason to take it away
    assert [type(each) for each in steps(app(2, {"subnet": "?"}), pools=(pool(made.manifest),))] == [Tell]


@pytest.mark.parametrize(
    ("annotation", "names", "owner", "number", "serves"),
    [
        ("subnet", Names(ipv4=("subnet-6",)), "web", 0, True),
        ("subnet", Names(ipv4=("absent", "subnet-6")), "web", 3, True),
        ("subnets", Names(ipv4=("subnet-6",)), "web", 0, True),
        ("subnets", Names("eth0", ipv4=("subnet-6",)), "web", 3, True),
        ("subnets", Names(ipv4=("subnet-6",)), "web", 1, False),
        ("subnets", Names("net1", ipv4=("subnet-6",)), "web", 0, False),
        ("subnet", Names(ipv4=("other",)), "web", 0, False),
        ("subnet", Names(ipv6=("subnet-6",)), "web", 0, False),
        ("subnet", Names(ipv4=("subnet-6",), ipv6=("six",)), "web", 0, False),
        ("subnet", Names(ipv4=("subnet-6",)), "other", 0, False),
    ],
)
def test_a_pool_serves_the_interface_of_its_application_only(
    annotation: str, names: Names, owner: str, number: int, *, serves: bool
) -> None:
    (made,) = steps(app())
    assert isinstance(made, Create)
    named = Named(f"ipam.spidernet.io/{annotation}", names)
    pools = (read(pool(made.manifest)), read(MINE))
    found = auto_pools.made_for(named, pools, ("Deployment", "shop", owner), number)
    assert found == (
        Named(named.annotation, Names(names.interface, ("auto4-web-eth0-95a41",))) if serves else None
    )


def test_the_account_of_a_subnet_names_every_pool_of_it() -> None:
    (made,) = steps(app())
    assert isinstance(made, Create)
    account = status(
        SUBNET, (pool(made.manifest), MINE, msgspec.convert({"spec": {"subnet": "10.9.0.0/16"}}, SpiderIPPool))
    )
    assert (account.total_ip_count, account.allocated_ip_count) == (10, 4)
    assert json.loads(account.controlled_ippools or "") == {
        "auto4-web-eth0-95a41": {"ips": ["10.6.1.10-10.6.1.12"], "application": "apps/v1:Deployment:shop:web"},
        "mine": {"ips": ["10.6.1.19"]},
    }


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), max_size=4), st.sets(st.integers(10, 19))
        ),
        max_size=4,
    )
)
def test_pools_of_a_subnet_never_share_an_address_nor_lose_one_in_use(
    rounds: list[tuple[list[tuple[int, int]], set[int]]],
) -> None:
    pools: dict[str, SpiderIPPool] = {}
    for wanted, numbers in rounds:
        applications = [
            app(pods, USUAL, f"uid-{number}", f"web-{number}") for number, pods in dict(wanted).items()
        ]
        taken = Ranges.parse(f"10.6.1.{number}" for number in numbers)
        for name, each in pools.items():
            in_use = tuple(str(one) for one in taken & addresses(each.spec))
            metadata = {"name": name, "labels": each.metadata.labels}
            pools[name] = pool({"metadata": metadata, "spec": msgspec.to_builtins(each.spec)}, in_use)
        for _ in range(3):  # what one pool gives back, another may take
            due = [
                each for each in steps(*applications, pools=tuple(pools.values())) if not isinstance(each, Tell)
            ]
            for step in due:
                if isinstance(step, Resize):
                    assert taken & addresses(pools[step.name].spec) <= Ranges.parse(step.ips)
                done(step, pools)
        assert not due
        seen = Ranges()
        for each in pools.values():
            assert not seen & addresses(each.spec)
            seen |= addresses(each.spec)
        assert seen <= addresses(SUBNET.spec)


def done(step: Step, pools: dict[str, SpiderIPPool]) -> None:
    match step:
        case Create(manifest):
            pools[manifest["metadata"]["name"]] = pool(manifest)
        case Resize(name, _, ips):
            before = pools[name]
            pools[name] = msgspec.structs.replace(before, spec=msgspec.structs.replace(before.spec, ips=ips))
        case Delete(name, _):
            del pools[name]
