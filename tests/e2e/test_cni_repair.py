"""Pods while the node process is away, and those that slipped past it: they wait with words, or are brought in."""

import contextlib
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.e2e.manifests import deployment
from tests.support.cluster import Cluster, eventually, run

from weft.adapters import procfs
from weft.install import cni as node

SYSTEM, DAEMONS, NAMESPACE = "istio-system", "istio-cni-node", "mended"
NOWHERE = {"spec": {"template": {"spec": {"nodeSelector": {"example.com/nowhere": "true"}}}}}
ANYWHERE = {"spec": {"template": {"spec": {"nodeSelector": {"example.com/nowhere": None}}}}}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def mended(cluster: Cluster) -> Iterator[Cluster]:
    cluster.injected(NAMESPACE)
    yield cluster
    cluster.kubectl("delete", "ns", NAMESPACE, "--wait=false")


@contextlib.contextmanager
def away(cluster: Cluster) -> Iterator[None]:
    """No node process, and afterwards a new one."""
    patch_daemons(cluster, NOWHERE)
    try:
        eventually(lambda: not cluster.objects("pods", SYSTEM, f"k8s-app={DAEMONS}"), seconds=60)
        yield
    finally:
        patch_daemons(cluster, ANYWHERE)


def patch_daemons(cluster: Cluster, patch: Json) -> None:
    cluster.kubectl("patch", "-n", SYSTEM, f"ds/{DAEMONS}", "--type=merge", "-p", json.dumps(patch))


def until_ready(cluster: Cluster) -> None:
    cluster.kubectl("rollout", "status", "-n", SYSTEM, f"ds/{DAEMONS}", "--timeout=60s", seconds=70)


def order(cluster: Cluster, repair: Literal["repair", "label"]) -> None:
    """What is to become of pods that are not captured: the settings of new node processes, and their rights."""
    made = node.manifests(node.Settings(repair=repair))
    (config,) = [each["data"] for each in made if each["kind"] == "ConfigMap"]
    wanted = {key: value for key, value in config.items() if key.startswith("REPAIR_")}
    patch = json.dumps({"data": wanted})
    cluster.kubectl("patch", "-n", SYSTEM, "cm/istio-cni-config", "--type=merge", "-p", patch)
    rights = json.dumps(next(each for each in made if each["kind"] == "ClusterRole"))
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=rights)


def start(cluster: Cluster, *names: str) -> None:
    cluster.apply(
        NAMESPACE,
        *(deployment(name, name, "centos:7.9.2009", command=["tail", "-f", "/dev/null"]) for name in names),
    )


def pod(cluster: Cluster, name: str) -> Json:
    found = cluster.objects("pods", NAMESPACE, f"app={name}")
    assert len(found) == 1, found  # a controller may be about to make it
    return found[0]


def said(cluster: Cluster, name: str, reason: str) -> str:
    """What the newest event of a pod says."""
    fields = f"involvedObject.name={pod(cluster, name)['metadata']['name']},reason={reason}"
    events = json.loads(
        cluster.kubectl("get", "events", "-n", NAMESPACE, "--field-selector", fields, "-o", "json")
    )
    return str(events["items"][-1]["message"]) if events["items"] else ""


def rules(cluster: Cluster, name: str, *change: str) -> str:
    """A pod's rules; or change them."""
    with procfs.network_namespaces([pod(cluster, name)["metadata"]["uid"]]) as found:
        assert found, f"no process of {name}"
        (path,) = found.values()
        command = ["iptables", "-t", "nat", *change] if change else ["iptables-save", "-t", "nat"]
        return run("nsenter", f"--net=/proc/{os.getpid()}/fd/{Path(path).name}", *command).stdout


def without_plugin(cluster: Cluster) -> None:
    """Somebody takes the plugin out of the node's network configuration."""
    for path in (cluster.home / "nodes/weft/cni/net.d").glob("*.conflist"):
        config = json.loads(path.read_text())
        config["plugins"] = [each for each in config["plugins"] if each["type"] != "istio-cni"]
        path.write_text(json.dumps(config))


def is_uncaptured(cluster: Cluster, name: str) -> bool:
    """Whether the pod's validation has found out that nothing captures its traffic."""
    for status in pod(cluster, name)["status"].get("initContainerStatuses") or ():
        if status["name"] == "istio-validation":
            states = (status.get(key, {}).get("terminated") or {} for key in ("state", "lastState"))
            return 126 in [state.get("exitCode") for state in states]
    return False


def is_labelled(cluster: Cluster, name: str) -> bool:
    return ("cni.istio.io/uninitialized", "true") in pod(cluster, name)["metadata"]["labels"].items()


@pytest.mark.timeout(300)  # kubelets start again what fails after 10 s, 20 s and so on
def test_pods_wait_for_the_node_process_with_words_and_those_that_slipped_past_it_are_labelled_or_repaired(
    mended: Cluster,
) -> None:
    start(mended, "flushed")
    mended.roll_out(NAMESPACE, "flushed")
    assert "-A ISTIO_OUTPUT" in rules(mended, "flushed")
    try:
        with away(mended):
            start(mended, "waiting")
            words = eventually(lambda: said(mended, "waiting", "FailedCreatePodSandBox"), seconds=60)
            assert "the node process of istio-cni does not answer" in words
            assert DAEMONS in words
            assert pod(mended, "waiting")["status"]["phase"] == "Pending"
            rules(mended, "flushed", "-F")
            assert "-A" not in rules(mended, "flushed")
            without_plugin(mended)
            start(mended, "lost")
            order(mended, "label")
            eventually(lambda: is_uncaptured(mended, "lost"), seconds=60)
        for name in ("flushed", "lost"):
            eventually(partial(is_labelled, mended, name), seconds=60)
    finally:
        order(mended, "repair")
        mended.kubectl("rollout", "restart", "-n", SYSTEM, f"ds/{DAEMONS}")
    for name in ("flushed", "lost"):
        words = eventually(partial(said, mended, name, "IstioCNIRepaired"), seconds=60)
        assert "were missing" in words
        assert "-A ISTIO_OUTPUT" in rules(mended, name)
    until_ready(mended)
    # the kubelet's next start of istio-validation succeeds
    mended.roll_out(NAMESPACE, "flushed", "waiting", "lost")
