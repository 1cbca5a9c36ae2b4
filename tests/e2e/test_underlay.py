"""Pods with addresses of the nodes' LAN, as a new user sees them: beside the cluster's own, and in the mesh."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.support.cluster import ROOT, Cluster, eventually, leftovers, logs, machine

from weft.cluster.machine.layout import Layout

Json = dict[str, Any]

# the first one waits for the cluster
pytestmark = pytest.mark.timeout(400)

OUTSIDE = "10.7.212.101"
EXAMPLE = ROOT / "examples" / "underlay" / "nginx.yaml"
NETWORKS = "k8s.v1.cni.cncf.io/networks"

# one interface only, on the underlay, which is its first
MESHED = """
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderMultusConfig
metadata: {name: NAME, namespace: kube-system}
spec:
  cniType: macvlan
  macvlan: {master: [ens192], ippools: {ipv4: [10-6-v4]}}
  coordinator: COORDINATOR
---
apiVersion: v1
kind: Pod
metadata:
  name: NAME
  namespace: meshed
  annotations: {v1.multus-cni.io/default-network: kube-system/NAME}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: nginx, image: nginx}]
"""


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes on a LAN with a gateway and a host of another subnet, and the example's pods."""
    with machine("weft-lan") as namespace:
        cluster = Cluster(tmp_path_factory.mktemp("lan"), namespace)
        try:
            words = ("--nodes", "2", "--no-gateways", "--underlay", "--set", "coordinator.mode=overlay")
            up = cluster.weft("up", "--home", str(cluster.home), *words, seconds=150)
            assert up.returncode == 0, up.stdout + up.stderr + logs(cluster.home)
            cluster.kubectl("apply", "-f", str(EXAMPLE))
            cluster.roll_out("default", "nginx")
            yield cluster
        finally:
            down = cluster.weft("down", "--home", str(cluster.home), seconds=120)
        assert down.returncode == 0, down.stdout + down.stderr
        assert leftovers(cluster.home) == []


def on_node(lan: Cluster, number: int, *command: str) -> str:
    """What a command prints in a node's network; empty where it fails."""
    node = Layout(lan.home, node_count=number).nodes[-1]
    return lan.inside("nsenter", f"--net=/run/netns/{node.namespace}", *command).stdout


def pod(name: str, annotations: Json) -> Json:
    spec = {"containers": [{"name": "nginx", "image": "nginx"}], "terminationGracePeriodSeconds": 0}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations},
        "spec": spec,
    }


def nginx(lan: Cluster) -> list[Json]:
    return sorted(lan.objects("pods", "default", "app=nginx"), key=lambda each: str(each["spec"]["nodeName"]))


def addresses(lan: Cluster) -> dict[str, str]:
    """Addresses on the underlay by the pod's name, as the endpoints say."""
    found = {}
    for one in lan.objects("spiderendpoints", "default"):
        found[one["metadata"]["name"]] = one["status"]["current"]["ips"][0]["ipv4"].partition("/")[0]
    return found


def execute(lan: Cluster, pod: str, *command: str, namespace: str = "default") -> str:
    return lan.kubectl("exec", "-n", namespace, pod, "-c", "nginx", "--", *command)


def unreached(lan: Cluster, pod: str, *addresses: str) -> list[str]:
    """The addresses from which two pings do not both come back."""
    script = "for each in $@; do ping -c 2 -W 5 $each | grep -q '2 packets received' || echo $each; done"
    return execute(lan, pod, "sh", "-c", script, "sh", *addresses).split()


def test_what_makes_underlay_networks_runs_and_knows_the_clusters_ranges(lan: Cluster) -> None:
    rows = [line.split() for line in lan.kubectl("get", "po", "-n", "kube-system").splitlines()]
    states = sorted((row[0].rsplit("-", 1)[0], row[1], row[2]) for row in rows if row[0].startswith("spiderpool"))
    assert [(name.removesuffix("-init"), ready, state) for name, ready, state in states][:2] == [
        ("spiderpool", "0/1", "Completed"),
        ("spiderpool-agent", "1/1", "Running"),
    ]
    assert len(states) == 4
    printed = lan.kubectl("get", "spidercoordinators.spiderpool.spidernet.io", "default", "-o", "yaml")
    coordinator = yaml.safe_load(printed)
    assert coordinator["status"] == {
        "phase": "Synced", "overlayPodCIDR": ["10.244.0.0/16"], "serviceCIDR": ["10.96.0.0/12"]
    }  # fmt: skip
    assert coordinator["spec"]["mode"] == "overlay"
    assert coordinator["metadata"]["finalizers"] == ["spiderpool.spidernet.io"]
    parts = {part["name"]: part for part in json.loads(lan.weft("status", "-o", "json").stdout)["parts"]}
    assert all(parts[name]["runs"] for name in ("spiderpool-controller", "spiderpool-agent", "outside"))


def test_what_a_packet_of_a_pod_would_do_is_said_as_it_is(lan: Cluster) -> None:
    first, second = (pod["metadata"]["name"] for pod in nginx(lan))
    table = lan.weft("underlay", "check", first)
    assert table.returncode == 0, table.stdout + table.stderr
    rows = {line.partition(":")[0]: line.split() for line in table.stdout.splitlines()}
    for to in ("own node", "another node", "DNS"):
        assert "ok" in rows[to], table.stdout
    assert "leaves" in rows["gateway"], table.stdout
    address = addresses(lan)[second]
    steps = lan.weft("underlay", "check", first, "--to", address).stdout
    assert "net1 is a macvlan above ens192" in steps
    assert unreached(lan, first, address) == []
    told = json.loads(lan.weft("underlay", "check", first, "--to", f"{second}.default", "-o", "json").stdout)
    assert {row["verdict"] for row in told["rows"]} <= {"ok", "leaves"}
    assert lan.weft("underlay", "check").stdout.startswith("Nothing is wrong")


def test_a_network_is_made_of_its_configuration(lan: Cluster) -> None:
    made = yaml.safe_load(
        lan.kubectl("get", "network-attachment-definitions.k8s.cni.cncf.io", "macvlan-ens192", "-o", "yaml")
    )
    [owner] = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("SpiderMultusConfig", "macvlan-ens192", True)
    config = json.loads(made["spec"]["config"])
    macvlan, coordinator = config["plugins"]
    assert (config["name"], macvlan["type"], macvlan["master"]) == ("macvlan-ens192", "macvlan", "ens192")
    assert macvlan["ipam"] == {"type": "spiderpool", "default_ipv4_ippool": ["10-6-v4"]}
    assert coordinator["type"] == "coordinator"


def test_pods_have_an_interface_beside_the_clusters_own(lan: Cluster) -> None:
    one, two = nginx(lan)
    assert (one["spec"]["nodeName"], two["spec"]["nodeName"]) == ("weft", "weft-2")
    header, *rows = [line.split() for line in lan.kubectl("get", "se").splitlines()]
    assert header == ["NAME", "INTERFACE", "IPV4POOL", "IPV4", "IPV6POOL", "IPV6", "NODE"]
    pods = {each["metadata"]["name"]: each for each in (one, two)}
    assert {row[0] for row in rows} == set(pods)
    for name, interface, pool, address, node in rows:
        assert (interface, pool, node) == ("net1", "10-6-v4", pods[name]["spec"]["nodeName"])
        assert re.fullmatch(r"10\.6\.212\.2[0-4][0-9]/16", address)
        assert pods[name]["status"]["podIP"].startswith("10.244.")
        [eth0, net1] = json.loads(pods[name]["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"])
        assert (eth0["interface"], eth0["default"], eth0["ips"]) == ("eth0", True, [pods[name]["status"]["podIP"]])
        assert (net1["name"], net1["interface"]) == ("default/macvlan-ens192", "net1")
        assert net1["ips"] == [address.partition("/")[0]]


def test_routes_lead_to_the_cluster_by_eth0_and_to_the_lan_by_net1(lan: Cluster) -> None:
    one, _ = nginx(lan)
    name = one["metadata"]["name"]
    address = addresses(lan)[name]

    def ways(*asked: str) -> list[str]:
        script = "".join(f"ip -oneline route get {each};" for each in asked)
        lines = execute(lan, name, "sh", "-c", script).splitlines()
        return [line.partition(" dev ")[2].split()[0] for line in lines]

    rules = json.loads(execute(lan, name, "ip", "-json", "rule"))
    [table] = [rule["table"] for rule in rules if rule.get("src") == address]
    expected = {
        "10.244.1.9": "eth0",  # the cluster's pods
        "10.96.0.10": "eth0",  # its services
        "10.6.212.131": "eth0",  # the pod's own node
        "192.168.49.2": "eth0",
        "10.6.212.240": "net1",  # the LAN
        OUTSIDE: "eth0",  # the default route is left where it was
        # what has net1's address leaves by it, but for the cluster
        f"{OUTSIDE} from {address}": "net1",
        **{f"{each} from {address}": "eth0" for each in ("10.244.1.9", "10.96.0.10", "10.6.212.131")},
    }
    assert dict(zip(expected, ways(*expected), strict=True)) == expected
    listed = json.loads(execute(lan, name, "ip", "-json", "route", "show", "table", table))
    routes = {route["dst"]: route for route in listed}
    assert (routes["default"]["gateway"], routes["default"]["dev"]) == ("10.6.0.1", "net1")


def test_pods_reach_each_other_services_and_hosts_of_other_subnets(lan: Cluster) -> None:
    one, two = nginx(lan)
    name, other = one["metadata"]["name"], two["metadata"]["name"]
    known = addresses(lan)
    assert unreached(lan, name, two["status"]["podIP"], known[other], OUTSIDE) == []
    empty = lan.try_kubectl("exec", name, "--", "curl", "-sS", "-m", "10", "10.96.0.10:53", "-I")
    assert "(52) Empty reply from server" in empty.stderr
    # and are reached from there, by the address of the LAN
    namespace = next(each for each in lan.inside("ip", "netns", "list").stdout.split() if each.endswith("-out"))
    for address in known.values():
        asked = lan.inside("nsenter", f"--net=/run/netns/{namespace}", "curl", "-sS", "-m", "10", address)
        assert "nginx answers" in asked.stdout, asked.stderr
    page = execute(lan, name, "curl", "-sS", "-m", "10", "--interface", "net1", f"http://{OUTSIDE}/")
    assert page == f"A host outside of the cluster. You are {known[name]}.\n"


def test_the_default_route_is_moved_where_a_pod_asks_for_it(lan: Cluster) -> None:
    annotations = {NETWORKS: "macvlan-ens192", "ipam.spidernet.io/default-route-nic": "net1"}
    lan.apply("default", json.dumps(pod("moved", annotations)))
    lan.kubectl("wait", "--for=condition=Ready", "pod/moved", "--timeout=60s", seconds=70)
    routes = {route["dst"]: route for route in json.loads(execute(lan, "moved", "ip", "-json", "route"))}
    assert (routes["default"]["gateway"], routes["default"]["dev"]) == ("10.6.0.1", "net1")
    page = execute(lan, "moved", "curl", "-sS", "-m", "10", f"http://{OUTSIDE}/")
    assert page == f"A host outside of the cluster. You are {addresses(lan)['moved']}.\n"
    assert unreached(lan, "moved", nginx(lan)[1]["status"]["podIP"]) == []
    lan.kubectl("delete", "pod", "moved")
    eventually(lambda: "moved" not in addresses(lan))


def test_in_the_mesh_the_address_of_veth0_decides_whether_traffic_arrives(lan: Cluster) -> None:
    lan.injected("meshed")
    lan.kubectl("patch", "spidercoordinators", "default", "--type=merge", "-p", '{"spec":{"mode":"auto"}}')

    def make(name: str, coordinator: str = "{}") -> None:
        text = MESHED.replace("NAME", name).replace("COORDINATOR", coordinator)
        lan.kubectl("apply", "-f", "-", text=text)

    def address(name: str) -> tuple[int, str]:
        lan.kubectl("wait", "-n", "meshed", "--for=condition=Ready", f"pod/{name}", "--timeout=90s", seconds=100)
        [found] = [each for each in lan.objects("pods", "meshed") if each["metadata"]["name"] == name]
        return 1 if found["spec"]["nodeName"] == "weft" else 2, str(found["status"]["podIP"])

    def served(name: str) -> bool:
        number, ip = address(name)
        return "nginx answers" in on_node(lan, number, "curl", "-sS", "-m", "3", ip)

    def veth0(name: str) -> str:
        return execute(lan, name, "ip", "addr", "show", "veth0", namespace="meshed")

    make("without")
    make("alone", "{vethLinkAddress: 169.254.100.1}")
    assert address("without")[1].startswith("10.6.212.")
    assert not served("without")
    assert "inet " not in veth0("without")
    assert served("alone"), "by its own network's setting"
    assert "inet 169.254.100.1/32" in veth0("alone")

    # and so it is by the cluster's setting, changed or given at the installation
    patch = '{"spec": {"vethLinkAddress": "169.254.100.1"}}'
    lan.kubectl("patch", "spidercoordinators", "default", "--type=merge", "-p", patch)
    network = {"v1.multus-cni.io/default-network": "kube-system/without", "sidecar.istio.io/inject": "false"}
    lan.apply("meshed", json.dumps(pod("cluster-wide", network)))
    address("cluster-wide")
    assert "inet 169.254.100.1/32" in veth0("cluster-wide")
    again = ("--set", "coordinator.vethLinkAddress=169.254.100.2")
    up = lan.weft("up", "--underlay", "--no-gateways", *again, seconds=150)
    assert up.returncode == 0, up.stdout + up.stderr
    path = "-o=jsonpath={.spec.vethLinkAddress}"
    assert lan.kubectl("get", "spidercoordinators", "default", path) == "169.254.100.2"
