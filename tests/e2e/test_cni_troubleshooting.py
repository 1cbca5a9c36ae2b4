"""How people look for a fault of the CNI plugin: a pod's rules, listed on its node, and the plugin's log."""

from collections.abc import Iterator

import pytest
from tests.e2e.manifests import TOOLBOX
from tests.support.cluster import Cluster, eventually, run

from weft.cluster.kubelet.runtime_config import RuntimePaths
from weft.cluster.machine.layout import Layout

NAMED = '{.status.initContainerStatuses[?(@.name=="istio-proxy")].containerID}'
AGENT = ("-n", "istio-system", "daemonset/istio-cni-node")


@pytest.fixture(scope="module")
def seen(cluster: Cluster) -> Iterator[Cluster]:
    cluster.injected("seen")
    cluster.apply("seen", TOOLBOX)
    cluster.roll_out("seen", "toolbox")
    yield cluster
    cluster.kubectl("delete", "ns", "seen", "--wait=false")


def test_the_rules_of_a_pod_are_listed_on_its_node_by_the_process_of_its_proxy(seen: Cluster) -> None:
    pod = seen.pod("seen", "toolbox")
    container = seen.kubectl("get", "pod", "-n", "seen", pod, "-o", f"jsonpath={NAMED}").removeprefix(
        "containerd://"
    )
    [node] = Layout(seen.home).nodes
    socket = str(RuntimePaths(home=node.home, run=node.run).socket)
    tasks = run("ctr", "--address", socket, "-n", "k8s.io", "tasks", "list").stdout.splitlines()
    [process] = [line.split()[1] for line in tasks if line.startswith(container)]
    listed = run(
        *("nsenter", "-t", process, "-n", "iptables", "-L", "-t", "nat", "-n", "-v", "--line-numbers", "-x")
    ).stdout
    for chain in ("ISTIO_INBOUND", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT", "ISTIO_REDIRECT"):
        assert f"Chain {chain} (" in listed
    [redirect] = [line.split() for line in listed.splitlines() if line.endswith("redir ports 15006")]
    assert redirect[0] == "1", "numbered"
    assert int(redirect[1]) > 0, "the validation has come by here"


def test_at_level_debug_the_log_tells_of_each_rule(seen: Cluster) -> None:
    seen.kubectl("set", "env", *AGENT, "LOG_LEVEL=debug")
    try:
        seen.kubectl("rollout", "status", *AGENT, "--timeout=60s", seconds=70)
        seen.kubectl("rollout", "restart", "-n", "seen", "deployment/toolbox")
        seen.roll_out("seen", "toolbox")
        told = eventually(lambda: seen.kubectl("logs", *AGENT, "--tail=-1"))
        assert "is to be captured: it has its sidecar" in told
        assert "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001" in told
    finally:
        seen.kubectl("set", "env", *AGENT, "LOG_LEVEL-")
        seen.kubectl("rollout", "status", *AGENT, "--timeout=60s", seconds=70)
