"""A whole cluster's life: up, up again, crashes, Ctrl-C, down. In a network namespace without a way out."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster import eventually

from weft.adapters import files, netlink, netns, processes
from weft.cluster.machine import commands, record, removal
from weft.cluster.machine.layout import Layout

SECONDS = 110

REQUEST = """
import asyncio, json, sys
from pathlib import Path
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import Kube

async def main(kubeconfig, method, path, body):
    async with Kube(Access.from_kubeconfig(Path(kubeconfig))) as kube:
        print(json.dumps(await kube.call(method, path, body=json.loads(body))))

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass(frozen=True)
class Machine:
    """A namespace that plays the machine, and a home."""

    namespace: str
    home: Path

    @property
    def layout(self) -> Layout:
        return Layout(self.home)

    def words(self, *words: str) -> list[str]:
        return [*netns.enter(self.namespace), sys.executable, "-m", "weft", *words, "--home", str(self.home)]

    def weft(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "200"}
        return subprocess.run(
            self.words(*words), capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
        )

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request to the API server, as the administrator."""
        words = [*netns.enter(self.namespace), sys.executable, "-c", REQUEST, str(self.home / "kubeconfig")]
        done = subprocess.run(
            [*words, method, path, json.dumps(body)], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def create_pod(self, node: str) -> None:
        """nginx on that node."""
        pod = {
            "metadata": {"name": f"on-{node}", "namespace": "default"},
            "spec": {"nodeName": node, "containers": [{"name": "nginx", "image": "nginx:1.25.3"}]},
        }
        self.call("POST", "/api/v1/namespaces/default/pods", pod)

    def create_installer(self, node: str) -> None:
        """A pod that brings a plugin to a node, as DaemonSets of network plugins do."""
        folders = {"net": "/etc/cni/net.d", "bin": "/opt/cni/bin"}
        script = "touch /host/bin/own /host/net/99-own.conf && sleep 600"
        container = {
            "name": "install",
            "image": "busybox",
            "command": ["sh", "-c", script],
            "volumeMounts": [{"name": name, "mountPath": f"/host/{name}"} for name in folders],
        }
        volumes = [{"name": name, "hostPath": {"path": path}} for name, path in folders.items()]
        spec = {"nodeName": node, "volumes": volumes, "containers": [container]}
        pod = {"metadata": {"name": "installer", "namespace": "default"}, "spec": spec}
        self.call("POST", "/api/v1/namespaces/default/pods", pod)

    def pod_ip(self, name: str) -> str:
        deadline = time.monotonic() + 30
        while True:
            status = self.get(f"/api/v1/namespaces/default/pods/{name}")["status"]
            if status.get("phase") == "Running":
                return str(status["podIP"])
            assert time.monotonic() < deadline, status
            time.sleep(0.2)

    def pod_namespaces(self) -> set[Path]:
        """Where the pods' namespaces are mounted: below containerd's own state."""
        return {
            path for path in files.mounts() if path.is_relative_to(self.layout.run) and path.parent.name == "netns"
        }

    def processes(self) -> dict[str, record.Started]:
        held = record.load(self.home)
        return dict(held.processes) if held else {}

    def restarted(self, name: str) -> bool:
        return self.processes()[name].restarts == 1

    def traces(self) -> list[str]:
        """All that of this cluster is on the machine, apart from its home."""
        home, run = str(self.home), str(self.layout.run)
        return [
            *(name for name in netns.names() if name.startswith(self.layout.tag)),
            *(str(path) for path in files.mounts() if str(path).startswith((home, run))),
            *(str(path) for path in files.cgroups(self.layout.tag)),
            *(str(one) for one in processes.find(lambda command: any(run in word for word in command))),
            *(
                str(one)
                for one in processes.find(lambda command: home in command and "status" not in command)
                if "down" not in one.command
            ),
            *(link["ifname"] for link in netlink.show(["link"], namespace=self.namespace)[1:]),
            *(str(route) for route in netlink.show(["-4", "route"], namespace=self.namespace)),
            *([run] if self.layout.run.exists() else []),
        ]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    name = f"updown-{os.getpid()}"
    netlink.batch([f"netns add {name}"])
    netlink.batch(["link set lo up"], namespace=name)
    made = Machine(name, tmp_path / "home")
    yield made
    made.weft("down")
    netns.remove(name)


@pytest.mark.timeout(400)
def test_a_cluster_comes_up_survives_crashes_and_goes_without_a_trace(machine: Machine) -> None:
    done = machine.weft("up")
    assert done.returncode == 0, done.stderr
    assert f"export KUBECONFIG={machine.home / 'kubeconfig'}" in done.stdout
    first = machine.processes()
    assert set(first) == {"supervisor", "apiserver", "containerd-weft", "node-weft"}

    status = machine.weft("status")
    assert status.returncode == 0, status.stdout + status.stderr
    for part in (
        *first,
        "istiod",
        "istio-cni-node",
        "istio-ingressgateway",
        "istio-egressgateway",
        "DNS",
        "kubeconfig",
    ):
        assert part in status.stdout

    uids = {pod["metadata"]["uid"] for pod in machine.get("/api/v1/pods")["items"]}
    again = machine.weft("up")
    assert again.returncode == 0, again.stderr
    assert "all already ran" in again.stdout
    assert machine.processes() == first

    other = machine.weft("up", "--pod-cidr", "10.50.0.0/16")
    assert other.returncode == 1
    assert "made with --pod-cidr 10.244.0.0/16" in other.stderr
    assert machine.processes() == first

    for name in set(first) - {"supervisor"}:
        os.kill(first[name].pid, signal.SIGKILL)
        eventually(partial(machine.restarted, name))
        eventually(lambda: machine.weft("status").returncode == 0)
    assert "restarted 1 time" in machine.weft("status").stdout

    for name in sorted(first, key=lambda name: name != "supervisor"):  # it first, so that the others stay dead
        os.kill(machine.processes()[name].pid, signal.SIGKILL)
    status = machine.weft("status")  # the pods run on
    assert status.returncode == 1
    assert status.stdout.count("not running") == len(first)
    mended = machine.weft("up")
    assert mended.returncode == 0, mended.stderr
    second = machine.processes()
    assert not any(second[name] == first[name] for name in first)
    assert {pod["metadata"]["uid"] for pod in machine.get("/api/v1/pods")["items"]} == uids

    pods = machine.pod_namespaces()
    assert pods
    for one in second.values():
        os.kill(one.pid, signal.SIGKILL)
    (machine.home / "cluster.json").write_text('{"half":')
    (machine.home / "images.yaml").write_text("aliases: []\n")
    down = machine.weft("down")
    assert down.returncode == 0, down.stderr
    assert "removed the cluster" in down.stdout
    assert machine.traces() == []
    assert not pods & set(files.mounts())
    assert {path.name for path in machine.home.iterdir()} == {"images.yaml", ".lock"}
    assert "nothing to remove" in machine.weft("down").stdout


@pytest.mark.timeout(200)
@pytest.mark.parametrize("step", ["certificates", "processes", "mesh objects"])
def test_ctrl_c_leaves_nothing_half_started(machine: Machine, step: str) -> None:
    named = netns.names()
    process = subprocess.Popen(
        machine.words("up"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    while not (line := process.stdout.readline()).strip().startswith(step):
        assert line, "up ended before it came to the step"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130, said
    assert "interrupted" in said
    assert machine.traces() == []
    # not even the namespace of a pod that was being made
    assert netns.names() == named
    assert not (machine.home / "store.db").exists()


@pytest.mark.timeout(300)
def test_nodes_stop_start_come_and_go(machine: Machine) -> None:
    assert machine.weft("up", "--nodes", "2", "--no-gateways").returncode == 0
    deployments = machine.get("/apis/apps/v1/namespaces/istio-system/deployments")["items"]
    assert [each["metadata"]["name"] for each in deployments] == ["istiod"]
    layout = replace(machine.layout, node_count=3)
    one, two, three = layout.nodes
    machine.create_pod(two.name)
    machine.pod_ip(f"on-{two.name}")
    pods = set(removal._bundles(removal._whole(layout)))

    stopped = machine.weft("node", "stop", two.name)
    assert stopped.returncode == 0, stopped.stderr
    assert "weft node start weft-2" in stopped.stdout
    assert two.namespace not in netns.names()
    assert not processes.find(lambda command: commands.is_of_node(command, layout, two))
    assert not files.cgroups(f"{layout.tag}/{two.name}")
    assert not [path for path in files.mounts() if path.is_relative_to(two.home) or path.is_relative_to(two.run)]
    gone = pods - set(removal._bundles(removal._whole(layout)))
    assert gone
    listed = machine.weft("node", "list").stdout
    assert ["weft-2", "stopped", str(two.ip), str(two.pods)] in [line.split() for line in listed.splitlines()]
    status = machine.weft("status", "-o", "json")
    assert status.returncode == 1
    parts = {part["name"]: part for part in json.loads(status.stdout)["parts"]}
    assert not parts["weft-2"]["runs"]
    assert parts["DNS"]["runs"], "service addresses are reached through the other node"
    unknown = machine.weft("node", "stop", "weft-9")
    assert unknown.returncode == 1
    assert "There are: weft, weft-2" in unknown.stderr

    started = machine.weft("node", "start", two.name)
    assert started.returncode == 0, started.stderr
    assert "is Ready" in started.stdout
    deadline = time.monotonic() + 30
    while machine.weft("status").returncode:
        # the plugin's pod there is Ready by its old word until its container has been started again
        assert time.monotonic() < deadline, machine.weft("status").stdout
        time.sleep(0.2)
    while (
        machine.get("/api/v1/namespaces/default/pods/on-weft-2")["status"]["containerStatuses"][0]["restartCount"]
        != 1
    ):
        assert time.monotonic() < deadline, "its pod comes back"
        time.sleep(0.2)

    more = machine.weft("up", "--nodes", "3")
    assert more.returncode == 0, more.stderr
    assert "started containerd-weft-3, node-weft-3" in more.stdout
    fewer = machine.weft("up", "--nodes", "1")
    assert fewer.returncode == 0, fewer.stderr
    assert [node["metadata"]["name"] for node in machine.get("/api/v1/nodes")["items"]] == [one.name]
    assert {pod["spec"]["nodeName"] for pod in machine.get("/api/v1/pods")["items"]} == {one.name}
    assert not two.home.exists()
    assert not three.home.exists()
    routes = netlink.show(["-4", "route"], namespace=machine.namespace)
    assert str(two.pods) not in [route["dst"] for route in routes]
    assert machine.weft("status").returncode == 0


@pytest.mark.timeout(200)
def test_two_nodes_run_pods_that_reach_each_other(machine: Machine) -> None:
    done = machine.weft("up", "--nodes", "2", "--init-container")
    assert done.returncode == 0, done.stderr
    status = machine.weft("status")
    assert status.returncode == 0
    assert "istio-cni-node" not in status.stdout
    meshed = {"metadata": {"name": "meshed", "labels": {"istio-injection": "enabled"}}}
    machine.call("POST", "/api/v1/namespaces", meshed)
    pod = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "nginx:1.25.3"}]}}
    injected = machine.call("POST", "/api/v1/namespaces/meshed/pods?dryRun=All", pod)
    assert [one["name"] for one in injected["spec"]["initContainers"]] == ["istio-init", "istio-proxy"]
    found = {node["metadata"]["name"]: node for node in machine.get("/api/v1/nodes")["items"]}
    nodes = set(found)
    assert nodes == {"weft", "weft-2"}
    role = "node-role.kubernetes.io/control-plane"
    assert [name for name, node in found.items() if role in node["metadata"]["labels"]] == ["weft"]
    for name in nodes:
        machine.create_pod(name)
    addresses = {name: machine.pod_ip(f"on-{name}") for name in nodes}
    for node in machine.layout.nodes:
        for ip in addresses.values():
            answer = subprocess.run(
                [*netns.enter(node.namespace), "curl", "-sI", "-m5", f"http://{ip}/"],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
            assert "200 OK" in answer.stdout, (node.name, ip)
    policy = {"metadata": {"name": "closed"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    machine.call("POST", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", policy)
    one, two = machine.layout.nodes[0], Layout(machine.home, node_count=2).nodes[1]
    ask = [*netns.enter(two.namespace), "curl", "-sI", "-m1", f"http://{addresses['weft']}/"]
    eventually(lambda: subprocess.run(ask, capture_output=True, timeout=20, check=False).returncode == 28)
    machine.create_installer("weft-2")
    machine.pod_ip("installer")
    eventually((two.home / "cni" / "bin" / "own").exists)
    assert (two.home / "cni" / "net.d" / "99-own.conf").exists()
    assert not (one.home / "cni" / "bin" / "own").exists()
    assert not Path("/opt/cni/bin/own").exists()
    assert machine.weft("up").returncode == 0, "without --nodes, as many as there are"
