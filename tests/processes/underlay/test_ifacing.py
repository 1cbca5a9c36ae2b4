"""VLANs on the kernel that runs here, whether it knows them or not."""

import asyncio

from tests.support.istio_iptables import empty_namespace, run

from weft.adapters import pod_network
from weft.processes.cni.calls import CallError
from weft.processes.underlay.ifacing import Ifacer
from weft.processes.underlay.plugins import Call


def test_a_vlan_is_made_once_or_the_kernels_lack_is_said() -> None:
    config = {"type": "ifacer", "interfaces": ["ens192"], "vlanID": 100}
    call = Call("ADD", "c1", "eth0", "", "", "shop", "web", "", config)
    with empty_namespace() as node:
        assert run(node, "ip", "link", "add", "ens192", "type", "veth", "peer", "name", "far").returncode == 0
        plugin = Ifacer(node=node)
        results = [told(plugin, call) for _ in range(2)]
        made = pod_network.look(node).link("ens192.100")
        if made is None:
            assert all("modprobe 8021q" in result for result in results)
        else:
            assert (made.kind, made.up, results) == ("vlan", True, ["made", "made"])
            asyncio.run(plugin.check(call))


def told(plugin: Ifacer, call: Call) -> str:
    try:
        assert asyncio.run(plugin.add(call)) == {"cniVersion": "1.0.0"}
    except CallError as error:
        return error.msg
    return "made"
