"""What a pod says of its networks."""

import json
from typing import Any

from weft.underlay.networks import network_status
from weft.underlay.networks.network_status import Attached

Json = dict[str, Any]


def told(*attached: Attached) -> list[Json]:
    found: list[Json] = json.loads(network_status.written(attached))
    return found


def test_each_network_is_told_with_its_addresses_and_gateways() -> None:
    first = {
        "interfaces": [
            {"name": "veth1", "mac": "02:00:00:00:00:01"},
            {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x", "mtu": 1450},
        ],
        "ips": [{"address": "10.87.0.2/24", "interface": 1}, {"address": "fd00::2/64", "interface": 1}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.87.0.1"}, {"dst": "10.0.0.0/8", "gw": "10.87.0.9"}],
        "dns": {"nameservers": ["10.96.0.10"]},
    }
    assert told(Attached("pods", first, default=True), Attached("shop/istio-cni", {"cniVersion": "1.0.0"})) == [
        {
            "name": "pods",
            "interface": "eth0",
            "ips": ["10.87.0.2", "fd00::2"],
            "mac": "02:00:00:00:00:02",
            "mtu": 1450,
            "default": True,
            "gateway": ["10.87.0.1"],
            "dns": {"nameservers": ["10.96.0.10"]},
        },
        {"name": "shop/istio-cni", "dns": {}},
    ]


def test_a_network_of_two_interfaces_is_told_by_each() -> None:
    result = {
        "interfaces": [{"name": "a", "sandbox": "/x"}, {"name": "b", "sandbox": "/x"}],
        "ips": [{"address": "10.0.0.1/24", "interface": 0}, {"address": "10.0.0.2/24", "interface": 1}],
    }
    entries = told(Attached("shop/two", result, device="0000:01:00.0"))
    assert [(each["interface"], each["ips"]) for each in entries] == [("a", ["10.0.0.1"]), ("b", ["10.0.0.2"])]
    assert entries[0]["device-info"]["pci"] == {"pci-address": "0000:01:00.0"}
