"""What pods ask for by Multus's annotations, and what their networks' plugins are told."""

import contextlib
import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.underlay.networks import asked as networks
from weft.underlay.networks.asked import NetworksError, Selection

Json = dict[str, Any]

READ = {
    "": [],
    "  ": [],
    "macvlan": [Selection("shop", "macvlan")],
    "kube-system/macvlan": [Selection("kube-system", "macvlan")],
    " a , kube-system/b@data ": [Selection("shop", "a"), Selection("kube-system", "b", "data")],
    '[{"name": "a"}, {"name": "b", "namespace": "net", "interface": "data"}]': [
        Selection("shop", "a"),
        Selection("net", "b", "data"),
    ],
    '[{"name": "a", "unknown": 1, "mac": null, "ips": null}]': [Selection("shop", "a")],
    "[]": [],
}


@pytest.mark.parametrize("written", READ)
def test_an_annotation_is_read(written: str) -> None:
    assert list(networks.selections(written, "shop")) == READ[written]


def test_all_keys_of_an_object_are_read() -> None:
    keys = {
        "name": "a",
        "namespace": "net",
        "interface": "data",
        "ips": ["10.6.0.9/16", "fd00::9"],
        "mac": "02:00:0A:06:00:09",
        "infiniband-guid": "c2:11:22:33:44:55:66:77",
        "portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 1000},
        "default-route": ["10.6.0.1", "fd00::1"],
        "deviceID": "0000:01:00.0",
        "cni-args": {"queue": 3},
    }
    assert networks.selections(json.dumps([keys]), "shop") == (
        Selection(
            "net",
            "a",
            "data",
            ips=("10.6.0.9/16", "fd00::9"),
            mac="02:00:0A:06:00:09",
            guid="c2:11:22:33:44:55:66:77",
            ports=({"hostPort": 80, "containerPort": 8080, "protocol": "tcp"},),
            bandwidth={"ingressRate": 1000},
            gateways=(ip_address("10.6.0.1"), ip_address("fd00::1")),
            device="0000:01:00.0",
            arguments={"queue": 3},
        ),
    )


WRONG = {
    "a,,b": "the name ''",
    "a/b/c": "'a/b/c' is no network",
    "a@b@c": "'a@b@c' is no network",
    "a@": "'a@' is no network",
    "/a": "the namespace ''",
    "A": "the name 'A'",
    "-a": "the name '-a'",
    "a_b": "the name 'a_b'",
    "a@0123456789abcdef": "'0123456789abcdef' is no name of an interface",
    "a@x:y": "no name of an interface",
    "a@..": "no name of an interface",
    '{"name": "a"}': "no list of networks as JSON",
    '[{"namespace": "a"}]': "missing required field `name`",
    '["a"]': "Expected `object`, got `str`",
    '[{"name": "a", "ips": "10.6.0.9"}]': "$[0].ips",
    '[{"name": "a", "ips": ["10.6.0.256"]}]': "'10.6.0.256' in ips is no address",
    '[{"name": "a", "mac": "02:00"}]': "mac '02:00' is none",
    '[{"name": "a", "infiniband-guid": "02:00"}]': "infiniband-guid '02:00' is none",
    '[{"name": "a", "default-route": ["x"]}]': "default-route 'x' is no address",
    "[": "no list of networks as JSON",
    ",".join(["a"] * 65): "65 networks are more than 64",
}


@pytest.mark.parametrize("written", WRONG)
def test_what_cannot_be_read_names_the_annotation_and_the_trouble(written: str) -> None:
    with pytest.raises(NetworksError) as caught:
        networks.selections(written, "shop")
    assert str(caught.value).startswith("annotation k8s.v1.cni.cncf.io/networks: ")
    assert WRONG[written] in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(written: str) -> None:
    with contextlib.suppress(NetworksError):
        for each in networks.selections(written, "shop"):
            assert each.name
            assert each.namespace


def selection(interface: str = "", gateways: tuple[str, ...] | None = None) -> Selection:
    return Selection(
        "shop", "a", interface, gateways=None if gateways is None else tuple(map(ip_address, gateways))
    )


def test_interfaces_are_named_by_their_places() -> None:
    assert networks.interfaces([selection(), selection("data"), selection()], "eth0") == ("net1", "data", "net3")
    for names in (["", "net1"], ["net2", ""], ["eth0"], ["a", "a"]):
        with pytest.raises(NetworksError, match="want the interface"):
            networks.interfaces([selection(each) for each in names], "eth0")


NONE: frozenset[int] = frozenset()
ROUTES: dict[str, tuple[list[Selection | None], list[tuple[frozenset[int], int]]]] = {
    "nobody asks": ([None, selection()], [(NONE, 0), (NONE, 0)]),
    "one of IPv4": (
        [None, selection(), selection(gateways=("10.6.0.1",))],
        [(frozenset({4}), 0), (frozenset({4}), 0), (frozenset({4}), 1)],
    ),
    "one of each": (
        [None, selection(gateways=("10.6.0.1", "fd00::1"))],
        [(frozenset({4, 6}), 0), (frozenset({4, 6}), 2)],
    ),
    "the network's own": ([None, selection(gateways=())], [(frozenset({4, 6}), 0), (NONE, 0)]),
}


@pytest.mark.parametrize("case", ROUTES.values(), ids=ROUTES)
def test_a_default_route_is_one_networks_alone(
    case: tuple[list[Selection | None], list[tuple[frozenset[int], int]]],
) -> None:
    chosen, expected = case
    assert [(drop, len(gateways)) for drop, gateways in networks.gateways(chosen)] == expected


def test_two_gateways_of_a_version_are_one_too_many() -> None:
    two = [selection(gateways=("10.6.0.1",)), selection(gateways=("10.7.0.1",))]
    with pytest.raises(NetworksError, match=r"10\.6\.0\.1 and 10\.7\.0\.1 are two gateways of IPv4"):
        networks.gateways(two)


def test_a_definition_is_a_list_whatever_form_it_has() -> None:
    single = networks.listed('{"type": "macvlan", "master": "ens192"}', "lan")
    assert single == {
        "cniVersion": "0.3.1",
        "name": "lan",
        "plugins": [{"type": "macvlan", "master": "ens192"}],
    }
    several = {
        "cniVersion": "1.0.0",
        "name": "own",
        "plugins": [{"type": "a"}, {"type": "b"}],
        "disableCheck": True,
    }
    assert networks.listed(json.dumps(several), "lan") == several
    old = networks.listed('{"plugins": [{"type": "macvlan"}, {"type": "coordinattor", "mode": "overlay"}]}', "lan")
    assert old["plugins"][1] == {"type": "coordinator", "mode": "overlay"}
    for wrong in ("", "[]", "{", '{"name": "x"}', '{"plugins": []}', '{"plugins": [1]}', '{"plugins": [{}]}'):
        with pytest.raises(NetworksError, match=r"spec\.config"):
            networks.listed(wrong, "lan")


def test_plugins_are_told_what_they_are_capable_of() -> None:
    network: Json = {
        "cniVersion": "1.0.0",
        "name": "lan",
        "plugins": [
            {"type": "macvlan", "capabilities": {"ips": True, "mac": True}, "args": {"cni": {"old": 1}}},
            {"type": "portmap", "capabilities": {"portMappings": True, "mac": False}},
            {"type": "tuning"},
        ],
    }
    chosen = Selection(
        "shop",
        "lan",
        ips=("10.6.0.9/16",),
        mac="02:00:0a:06:00:09",
        ports=({"hostPort": 80},),
        device="0000:01:00.0",
        arguments={"queue": 3},
    )
    macvlan, portmap, tuning = networks.finished(network, chosen)["plugins"]
    assert macvlan["runtimeConfig"] == {"ips": ["10.6.0.9/16"], "mac": "02:00:0a:06:00:09"}
    assert macvlan["args"] == {"cni": {"old": 1, "queue": 3, "ips": ["10.6.0.9/16"]}}
    assert (macvlan["deviceID"], macvlan["pciBusID"]) == ("0000:01:00.0", "0000:01:00.0")
    assert portmap["runtimeConfig"] == {"portMappings": [{"hostPort": 80}]}
    assert "runtimeConfig" not in tuning
    assert "deviceID" not in tuning
    runtime = networks.finished(network, None, {"portMappings": [{"hostPort": 81}], "dns": {}})["plugins"]
    assert runtime[1]["runtimeConfig"] == {"portMappings": [{"hostPort": 81}]}
    assert runtime[2] == {"type": "tuning"}
    assert "runtimeConfig" not in network["plugins"][0]
