"""Pods with several networks: the real programs, in real network namespaces, called as a runtime calls them."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from tests.processes.cni.api import Json
from tests.processes.cni.api import serving as api_serving
from tests.processes.cni.plugins import call
from tests.processes.underlay.node import Folders, Node, Sandbox, ip, serving

from weft.adapters.kube.kinds import EVENTS, PODS
from weft.processes.underlay.tidying import Tidier


def pods(folders: Folders) -> Json:
    """The network that all pods have."""
    ipam = {
        "type": "host-local",
        "dataDir": str(folders.root / "addresses"),
        "ranges": [[{"subnet": "10.87.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    tuning = {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": ipam}, tuning]}


def bridged(folders: Folders) -> Json:
    ipam = {"type": "host-local", "dataDir": str(folders.root / "addresses"), "subnet": "10.88.0.0/24"}
    return {"cniVersion": "0.3.1", "name": "bridged", "type": "bridge", "bridge": "weft-ubr", "ipam": ipam}


LAN: Json = {
    "cniVersion": "1.0.0",
    "name": "lan",
    "plugins": [{"type": "macvlan", "master": "weft-ulan", "capabilities": {"ips": True, "mac": True}}],
}
LAN["plugins"][0]["ipam"] = {"type": "static"}


@contextlib.contextmanager
def lan() -> Iterator[None]:
    """A link that macvlan can be on."""
    ip("link", "add", "weft-ulan", "type", "veth", "peer", "name", "weft-ulan1")
    try:
        ip("link", "set", "weft-ulan", "up")
        yield
    finally:
        ip("link", "del", "weft-ulan")
        with contextlib.suppress(Exception):
            ip("link", "del", "weft-ubr")


async def test_a_pod_is_given_its_networks_and_all_of_them_go_again(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.write("10-pods.conflist", pods(folders))
    before = links()
    with lan():
        async with api_serving(tmp_path) as kube, serving(kube, folders) as node:
            await node.network("bridged", bridged(folders))
            await node.network("lan", LAN)
            await one_network(node)
            await what_is_no_pods(node)
            await three_networks(node)
            await a_failure_in_the_middle(node)
            await what_is_missing(node)
            await what_the_node_defines(node)
            await a_default_route(node)
            await another_default_network(node)
            await a_broken_off_add(node)
            await what_the_runtime_forgot(node)
            await the_capture_is_last(node)
            await all_commands_are_passed_on(node)
        await nobody_answers(folders)
    assert links() == before


def links() -> set[str]:
    return {each["ifname"] for each in json.loads(ip("-j", "link"))}


async def one_network(node: Node) -> None:
    assert (await node.call("STATUS", Sandbox("none"))).code == 0
    sandbox = await node.pod("plain")
    with sandbox.made():
        result = await node.add(sandbox, "0.3.1")
        assert result["cniVersion"] == "0.3.1"
        assert result["ips"][0]["version"] == "4"
        within = [each for each in result["interfaces"] if each.get("sandbox")]
        assert [(each["name"], each["sandbox"]) for each in within] == [("eth0", sandbox.path)]
        assert (await node.call("CHECK", sandbox, "1.0.0")).code == 0
        assert [(each["name"], each["interface"], each["default"]) for each in await node.told(sandbox)] == [
            ("pods", "eth0", True)
        ]
        again = await node.call("ADD", sandbox)
        assert again.error == 4
        assert "already" in again.json["msg"]
        ip("-n", sandbox.namespace, "addr", "flush", "dev", "eth0")
        assert (await node.call("CHECK", sandbox, "1.0.0")).error
        await node.delete(sandbox)
        assert sandbox.links == ["lo"]
        await node.delete(sandbox)
        assert (await node.call("CHECK", sandbox, "1.0.0")).error == 3
    assert list(node.folders.cache.iterdir()) == []


async def what_is_no_pods(node: Node) -> None:
    """Calls that are about no pod's network."""
    variables = Sandbox("none").variables
    for netns, about in (("/proc/self/ns/net", "the node's own network"), ("/nowhere", "cannot be opened")):
        answer = await call(
            node.folders.bin / "multus", "ADD", node.folders.config(), **variables | {"NETNS": netns}
        )
        assert (answer.error, about in answer.json["msg"]) == (4, True), answer
    unknown = node.folders.bin / "sbr"
    unknown.unlink()
    unknown.symlink_to(node.folders.bin / "multus")
    answer = await call(unknown, "DEL", node.folders.config(), **variables)
    assert "no plugin of type 'sbr'" in answer.json["msg"]


async def three_networks(node: Node) -> None:
    wanted = [
        {"name": "bridged"},
        {"name": "lan", "interface": "data", "ips": ["10.6.0.9/16"], "mac": "02:00:0a:06:00:09"},
        {"name": "bridged", "namespace": "shop"},
    ]
    sandbox = await node.pod("several", wanted)
    with sandbox.made():
        result = await node.add(sandbox)
        assert sandbox.links == ["data", "eth0", "lo", "net1", "net3"]
        assert result["ips"][0]["address"].startswith("10.87.0.")
        assert (await node.call("CHECK", sandbox)).code == 0
        told = {each["interface"]: each for each in await node.told(sandbox)}
        assert list(told) == ["eth0", "net1", "data", "net3"]
        assert told["data"] == {
            "name": "shop/lan",
            "interface": "data",
            "ips": ["10.6.0.9"],
            "mac": "02:00:0a:06:00:09",
            "dns": {},
        }
        assert told["net1"]["name"] == told["net3"]["name"] == "shop/bridged"
        # neither the pod nor its networks' definitions are needed for the end
        await node.kube.delete(PODS, "several", "shop", grace=0)
    # nor is its namespace
    await node.delete(sandbox)
    assert list(node.folders.cache.iterdir()) == []
    assert addresses(node) == set()


async def a_failure_in_the_middle(node: Node) -> None:
    await node.network("broken", {"cniVersion": "1.0.0", "name": "broken", "type": "macvlan", "master": "nowhere"})
    sandbox = await node.pod("half", "bridged,broken,lan")
    with sandbox.made():
        answer = await node.call("ADD", sandbox)
        assert answer.error
        assert (
            f'[shop/half/{sandbox.uid}:broken]: error adding container to network "broken"' in answer.json["msg"]
        )
        assert 'plugin type="macvlan" failed (add)' in answer.json["msg"]
        assert sandbox.links == ["lo"]
        await node.delete(sandbox)
    assert addresses(node) == set()
    async with asyncio.timeout(30):
        while not any(each["reason"] == "FailedAttachNetwork" for each in await node.kube.list(EVENTS, "shop")):
            await asyncio.sleep(0.05)


async def what_is_missing(node: Node) -> None:
    sandbox = await node.pod("virt-launcher-vmi", "istio-cni")
    with sandbox.made():
        answer = await node.call("ADD", sandbox)
        assert answer.error
        assert answer.json["msg"] == (
            "Multus: [shop/virt-launcher-vmi]: error loading k8s delegates k8s args: TryLoadPodDelegates: "
            "error in getting k8s network for pod: GetNetworkDelegates: failed getting the delegate: "
            "getKubernetesDelegate: cannot find a network-attachment-definition (istio-cni) in namespace (shop): "
            'network-attachment-definitions.k8s.cni.cncf.io "istio-cni" not found'
        )
        assert "Make it" in answer.json["details"]
        assert sandbox.links == ["lo"]
    wrong = await node.pod("wrong", "lan@")
    with wrong.made():
        answer = await node.call("ADD", wrong)
        assert "k8s.v1.cni.cncf.io/networks" in answer.json["msg"]


async def what_the_node_defines(node: Node) -> None:
    await node.network("here")
    sandbox = await node.pod("empty", "here")
    with sandbox.made():
        answer = await node.call("ADD", sandbox)
        assert "no configuration" in answer.json["msg"]
        node.folders.write("50-here.conf", {**bridged(node.folders), "name": "here"})
        await node.add(sandbox)
        assert sandbox.links == ["eth0", "lo", "net1"]
        await node.delete(sandbox)
    (node.folders.net / "50-here.conf").unlink()


async def a_default_route(node: Node) -> None:
    wanted = [{"name": "lan", "ips": ["10.6.0.9/16"], "default-route": ["10.6.0.1"]}]
    sandbox = await node.pod("outward", wanted)
    with sandbox.made():
        result = await node.add(sandbox)
        assert [(each["dev"], each["gateway"]) for each in sandbox.ip("route", "show", "default")] == [
            ("net1", "10.6.0.1")
        ]
        assert not result.get("routes")
        assert [each.get("gateway") for each in await node.told(sandbox)] == [None, ["10.6.0.1"]]
        await node.delete(sandbox)


async def another_default_network(node: Node) -> None:
    sandbox = await node.pod("other", **{"v1.multus-cni.io/default-network": "shop/bridged"})
    with sandbox.made():
        result = await node.add(sandbox)
        assert result["ips"][0]["address"].startswith("10.88.0.")
        assert [each["name"] for each in await node.told(sandbox)] == ["shop/bridged"]
        await node.delete(sandbox)


async def a_broken_off_add(node: Node) -> None:
    """The node process has ended in the middle of an ADD."""
    sandbox = await node.pod("resumed", "bridged")
    with sandbox.made():
        await node.add(sandbox)
        record = node.folders.cache / sandbox.container
        record.write_text(record.read_text().replace('"done":true', '"done":false'))
        await node.add(sandbox)
        assert sandbox.links == ["eth0", "lo", "net1"]
        await node.delete(sandbox)
    assert addresses(node) == set()


async def what_the_runtime_forgot(node: Node) -> None:
    kept, lost = await node.pod("kept", "bridged"), await node.pod("lost", "bridged")
    with kept.made(), lost.made():
        await node.add(kept)
        await node.add(lost)
        valid = [{"containerID": kept.container, "ifname": "eth0"}]
        answer = await node.call("GC", Sandbox("none"), more={"cni.dev/valid-attachments": valid})
        assert answer.code == 0, answer
        assert [each.name for each in node.folders.cache.iterdir()] == [kept.container]
        assert (lost.links, kept.links) == (["lo"], ["eth0", "lo", "net1"])
    # nobody says so, but neither the pod nor its namespace is there any more
    await node.kube.delete(PODS, "kept", "shop", grace=0)
    tidier = Tidier(node.around, node.meta, every=0.1)
    tidying = asyncio.create_task(tidier.run())
    async with asyncio.timeout(30):
        while list(node.folders.cache.iterdir()) or addresses(node):
            await asyncio.sleep(0.05)
    tidying.cancel()


async def the_capture_is_last(node: Node) -> None:
    """A chain that another has put `istio-cni` into: it is called once, when all interfaces are there."""
    seen = node.folders.root / "seen"
    program = node.folders.bin / "istio-cni"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$CNI_COMMAND $CNI_IFNAME $(nsenter --net=$CNI_NETNS ip -o link | wc -l)" >> {seen}\n'
        '[ "$CNI_COMMAND" != ADD ] || sed \'s/.*"prevResult"://; s/}$//\'\n'
    )
    program.chmod(0o755)
    chain = pods(node.folders)
    chain["plugins"].insert(1, {"type": "istio-cni"})
    node.folders.write("10-pods.conflist", chain)
    sandbox = await node.pod("captured", "bridged")
    with sandbox.made():
        result = await node.add(sandbox)
        assert result["ips"][0]["address"].startswith("10.87.0.")
        assert seen.read_text() == "ADD eth0 3\n"
        await node.delete(sandbox)
        assert [line.split()[0] for line in seen.read_text().splitlines()] == ["ADD", "DEL"]


async def all_commands_are_passed_on(node: Node) -> None:
    """A network whose plugins speak 1.1, and which says nothing of what it made."""
    seen = node.folders.root / "passed"
    program = node.folders.bin / "noting"
    program.write_text(f'#!/bin/sh\necho "$CNI_COMMAND $CNI_IFNAME $(cat)" >> {seen}\n')
    program.chmod(0o755)
    node.folders.write("10-pods.conflist", {"cniVersion": "1.1.0", "name": "new", "plugins": [{"type": "noting"}]})
    sandbox = await node.pod("newest")
    valid = [{"containerID": sandbox.container, "ifname": "eth0"}]
    with sandbox.made():
        assert await node.add(sandbox) == {"cniVersion": "1.1.0"}
        assert await node.told(sandbox) == [{"name": "new", "default": True, "dns": {}}]
        for verb in ("CHECK", "STATUS", "GC"):
            answer = await node.call(verb, sandbox, more={"cni.dev/valid-attachments": valid})
            assert answer.code == 0, answer
        await node.delete(sandbox)
    told = [line.split(maxsplit=2) for line in seen.read_text().splitlines()]
    assert [each[0] for each in told] == ["ADD", "CHECK", "STATUS", "GC", "DEL"]
    assert json.loads(told[3][2])["cni.dev/valid-attachments"] == valid


async def nobody_answers(folders: Folders) -> None:
    """The node process is away."""
    sandbox = Sandbox("away")
    look = "kubectl -n kube-system get pods -l app.kubernetes.io/component=spiderpool-agent -o wide"
    with sandbox.made():
        for kind in ("multus", "spiderpool", "coordinator", "ifacer"):
            for verb, code in (("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50), ("DEL", 0)):
                answer = await call(folders.bin / kind, verb, folders.config(), **sandbox.variables)
                assert answer.error == code, answer
                if code:
                    assert look in answer.json["details"]
                    assert f"{kind} {verb}: " in answer.json["msg"]
        folders.cache.mkdir(exist_ok=True)
        (folders.cache / sandbox.container).write_text("{}")
        known = await call(folders.bin / "multus", "DEL", folders.config(), **sandbox.variables)
        assert known.error == 11
        version = await call(folders.bin / "coordinator", "VERSION", {"cniVersion": "1.0.0"})
        assert version.json["supportedVersions"][-1] == "1.1.0"


def addresses(node: Node) -> set[str]:
    """Addresses that host-local has given."""
    folder = node.folders.root / "addresses"
    return {path.name for path in folder.glob("*/1*")}
