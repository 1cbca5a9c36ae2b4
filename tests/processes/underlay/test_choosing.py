"""Which networks a pod is given, by settings, definitions and the node's files."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.processes.cni import nodes

from weft.processes.cni.calls import CallError
from weft.processes.underlay import settings
from weft.processes.underlay.choosing import Chooser
from weft.processes.underlay.definitions import Definitions
from weft.processes.underlay.plugins import Call
from weft.underlay.networks.delegates import Delegate

Json = dict[str, Any]


class Known(Definitions):
    """What is in a cluster, by NAMESPACE/NAME."""

    def __init__(self, configs: dict[str, str]) -> None:
        self._configs = configs

    async def find(self, namespace: str, name: str) -> Json | None:
        config = self._configs.get(f"{namespace}/{name}")
        return None if config is None else {"spec": {"config": config}}


LAN = json.dumps({"cniVersion": "1.0.0", "name": "lan", "type": "macvlan"})
KNOWN = Known(
    {
        "shop/lan": LAN,
        "net/lan": LAN,
        "kube-system/first": LAN,
        "shop/here": "",
        "shop/old": '{"cniVersion": "0.2.0", "type": "x"}',
        "shop/bad": "{",
    }
)


async def choose(tmp_path: Path, networks: str, *flags: str, **more: str) -> tuple[Delegate, ...]:
    nodes.Node(tmp_path)  # its kubeconfig
    (tmp_path / "net.d" / "10-pods.conf").write_text('{"cniVersion": "0.3.1", "name": "pods", "type": "ptp"}')
    given = [
        "--kubeconfig",
        str(tmp_path / "kubeconfig"),
        "--mounted-cni-net-dir",
        str(tmp_path / "net.d"),
        *flags,
    ]
    chooser = Chooser(settings.parse(given, {}, host="machine"), KNOWN)
    call = Call("ADD", "ab", "eth0", "/n", "/n", "shop", "web", "7", {"runtimeConfig": {"x": 1}})
    made, _ = await chooser.choose(call, {"k8s.v1.cni.cncf.io/networks": networks} | more)
    return made


async def test_a_pod_has_the_nodes_network_and_those_it_names(tmp_path: Path) -> None:
    made = await choose(tmp_path, "lan,net/lan@data")
    assert [(each.network, each.interface, each.default) for each in made] == [
        ("pods", "eth0", True),
        ("shop/lan", "net1", False),
        ("net/lan", "data", False),
    ]


@pytest.mark.parametrize(
    ("flags", "more"),
    [
        (["--spiderpool-cluster-network=first"], {}),
        (["--spiderpool-cluster-network=kube-system/first"], {}),
        ([], {"v1.multus-cni.io/default-network": "first"}),
        (["--spiderpool-cluster-network=shop/none"], {"v1.multus-cni.io/default-network": "kube-system/first"}),
    ],
)
async def test_the_first_network_may_be_another(tmp_path: Path, flags: list[str], more: dict[str, str]) -> None:
    made = await choose(tmp_path, "", *flags, **more)
    assert [(each.network, each.interface) for each in made] == [("kube-system/first", "eth0")]


WRONG = {
    "nowhere": 'network-attachment-definitions.k8s.cni.cncf.io "nowhere" not found',
    "here": "says nothing, and no configuration in /etc/cni/net.d of the node has the name 'here'",
    "old": "cniVersion '0.2.0' is none of",
    "bad": "network-attachment-definition shop/bad: spec.config is no JSON",
    "lan@eth0": "want the interface eth0",
    "lan,": "k8s.v1.cni.cncf.io/networks",
}


@pytest.mark.parametrize("networks", WRONG)
async def test_what_cannot_be_had_says_so(tmp_path: Path, networks: str) -> None:
    with pytest.raises(CallError) as caught:
        await choose(tmp_path, networks)
    assert WRONG[networks] in caught.value.msg
    assert caught.value.details


async def test_namespaces_are_apart_where_that_is_chosen(tmp_path: Path) -> None:
    apart = "--multus-namespace-isolation=true"
    with pytest.raises(CallError, match="namespace isolation: the pod is in shop, and its network net/lan is not"):
        await choose(tmp_path, "net/lan", apart)
    assert len(await choose(tmp_path, "net/lan", apart, "--multus-global-namespaces=net, other")) == 2
    assert len(await choose(tmp_path, "lan", apart)) == 2


def test_settings_that_are_none_are_named(tmp_path: Path) -> None:
    for flag, about in {
        "--multus-conf-name=x/y.conf": "MULTUS_CONF_NAME",
        "--multus-conf-name=x.conflist": "MULTUS_CONF_NAME",
        "--spiderpool-install-multus=perhaps": "SPIDERPOOL_INSTALL_MULTUS",
        "--spiderpool-health-port=x": "SPIDERPOOL_HEALTH_PORT",
        "--spiderpool-log-level=loud": "loud",
    }.items():
        with pytest.raises(settings.SettingsError, match=about):
            settings.parse([flag, "--kubeconfig", str(tmp_path)], {}, host="machine")
