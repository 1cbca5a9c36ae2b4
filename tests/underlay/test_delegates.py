"""The order of a pod's networks, and the one call of `istio-cni`."""

from typing import Any

import pytest

from weft.underlay.networks import delegates, meta_config
from weft.underlay.networks.delegates import Delegate

Json = dict[str, Any]


def network(name: str, *types: str) -> Json:
    return {"cniVersion": "1.0.0", "name": name, "plugins": [{"type": each} for each in types]}


PLAIN, CHAINED = network("pods", "ptp", "portmap"), network("pods", "ptp", "istio-cni", "portmap")
LAN, ALONE = network("lan", "macvlan", "coordinator"), network("istio-cni", "istio-cni")
US, BOTH = ("00-multus.conf", network("m", "multus")), ("00-multus.conflist", network("m", "multus", "istio-cni"))


def types(network: Json) -> list[str]:
    return [each["type"] for each in network["plugins"]]


def given(*networks: Json) -> list[Delegate]:
    return [
        Delegate(
            network=each["name"], interface=f"net{place}" if place else "eth0", config=each, default=place == 0
        )
        for place, each in enumerate(networks)
    ]


CASES: dict[str, tuple[list[Json], tuple[str, Json], list[str]]] = {
    "no mesh": ([PLAIN, LAN], US, ["eth0:ptp,portmap", "net1:macvlan,coordinator"]),
    "one network, with the mesh": ([CHAINED], US, ["eth0:ptp,istio-cni,portmap"]),
    "in the first network's chain": (
        [CHAINED, LAN],
        US,
        ["eth0:ptp,portmap", "net1:macvlan,coordinator", "eth0:istio-cni+"],
    ),
    "after us in our own file": ([CHAINED, LAN], BOTH, ["eth0:ptp,portmap", "net1:macvlan,coordinator"]),
    "after us, one network": ([CHAINED], BOTH, ["eth0:ptp,portmap"]),
    "as a network of the pod, and after us": ([PLAIN, ALONE], BOTH, ["eth0:ptp,portmap"]),
    "only after us": ([PLAIN, LAN], BOTH, ["eth0:ptp,portmap", "net1:macvlan,coordinator"]),
    "as a network of the pod": (
        [PLAIN, ALONE, LAN],
        US,
        ["eth0:ptp,portmap", "net2:macvlan,coordinator", "net1:istio-cni"],
    ),
    "as a network, and in the chain": (
        [CHAINED, ALONE, LAN],
        US,
        ["eth0:ptp,portmap", "net2:macvlan,coordinator", "net1:istio-cni"],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_capture_is_called_once_and_last(case: tuple[list[Json], tuple[str, Json], list[str]]) -> None:
    networks, own, expected = case
    made, why = delegates.in_order(given(*networks), [own, ("10-pods.conflist", networks[0])])
    shown = [f"{each.interface}:{','.join(types(each.config))}{'+' if each.continues else ''}" for each in made]
    assert shown == expected
    assert bool(why) is (types(made[0].config) != types(networks[0]) or len(made) < len(networks))


def test_the_first_network_is_neither_ours_nor_the_capture_alone() -> None:
    files = [US, ("05-istio.conf", ALONE), ("10-pods.conflist", PLAIN), ("20-lan.conf", LAN)]
    assert delegates.first(files) == ("10-pods.conflist", PLAIN)
    assert delegates.first(files[:2]) is None
    assert delegates.named(files, "lan") == LAN
    assert delegates.named(files, "istio-cni") == ALONE
    assert delegates.named(files, "m") is None
    assert delegates.named([US, ("10-pods.conflist", PLAIN)], "istio-cni") is None
    # where it is a part of another list, that is what its name stands for
    for chain in (BOTH, ("10-pods.conflist", CHAINED)):
        assert delegates.named([chain], "istio-cni") == ALONE


def test_our_configuration_is_in_the_first_networks_version_and_as_capable() -> None:
    first = network("pods", "ptp", "portmap", "bandwidth")
    first["plugins"][1]["capabilities"] = {"portMappings": True, "mac": False}
    first["plugins"][2]["capabilities"] = {"bandwidth": True}
    assert meta_config.entry(first, "/run/s", "/var/lib/m") == {
        "cniVersion": "1.0.0",
        "name": "multus-cni-network",
        "type": "multus",
        "run_dir": "/run/s",
        "cniDir": "/var/lib/m",
        "capabilities": {"bandwidth": True, "portMappings": True},
    }
    assert meta_config.entry({"plugins": []}, "/r", "/m")["cniVersion"] == "0.3.1"


def test_our_entry_is_kept_in_a_list_that_others_made_of_it() -> None:
    wanted = meta_config.entry(PLAIN, "/r", "/m")
    _, listed = BOTH
    assert meta_config.own([("10-pods.conflist", PLAIN), BOTH], "00-multus.conf") == BOTH
    made = meta_config.joined(listed, wanted)
    assert made is not None
    assert [each["type"] for each in made["plugins"]] == ["multus", "istio-cni"]
    assert made["plugins"][0] == {"type": "multus", "run_dir": "/r", "cniDir": "/m"}
    assert meta_config.joined(made, wanted) is None
    assert meta_config.own([("99-other.conf", network("x", "multus"))], "00-multus.conf") is None


def test_a_file_before_ours_is_named() -> None:
    files = [("00-aaa.conf", PLAIN), ("00-multus.conf", US[1])]
    assert meta_config.before_us(files, "00-multus.conf") == "00-aaa.conf"
    assert not meta_config.before_us(files[1:], "00-multus.conf")
    assert not meta_config.before_us([BOTH], "00-multus.conf")
