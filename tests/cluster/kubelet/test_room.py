"""What a pod gets of its node: room to begin with, and its share beside the others."""

from decimal import Decimal
from pathlib import Path

from tests.cluster.kubelet.support import Containerd, Json, Node, pod

from weft.adapters.cri.types import Resources
from weft.cluster.kubelet import cgroups, quantity, refusals


def container(name: str, requests: Json | None = None, limits: Json | None = None, **more: str) -> Json:
    resources = {"requests": requests or {}, "limits": limits or {}}
    return {"name": name, "image": "busybox", "command": ["sleep", "1000"], "resources": resources, **more}


def test_a_pod_asks_for_what_runs_together_or_for_a_greater_init_container() -> None:
    side = container("side", {"cpu": "100m"}, restartPolicy="Always")
    first = container("first", {"cpu": "500m"})
    mains = [container("a", {"cpu": "100m"}), container("b", {"cpu": "150m"})]
    assert quantity.asked({"containers": mains}, "requests", "cpu") == Decimal("0.25")
    assert quantity.asked({"containers": mains, "initContainers": [side, first]}, "requests", "cpu") == Decimal(
        "0.6"
    )


def test_a_pods_cgroup_is_limited_only_where_all_its_containers_are() -> None:
    limited = container("a", {"cpu": "250m"}, {"cpu": "500m", "memory": "64Mi"})
    free = container("b", {"cpu": "250m"}, {"cpu": "1"})
    assert quantity.pod_cgroup({"containers": [limited]}) == Resources(256, 100_000, 50_000, 64 << 20)
    assert quantity.pod_cgroup({"containers": [limited, free]}) == Resources(512, 100_000, 150_000, 0)
    assert quantity.pod_cgroup({"containers": [container("c")]}) == Resources(2)


def test_the_files_of_both_versions_of_cgroups_are_written(tmp_path: Path) -> None:
    one, two = tmp_path / "v1", tmp_path / "v2"
    files = {
        one / "cpu/k/pod": ("cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us"),
        one / "memory/k/pod": ("memory.limit_in_bytes",),
        two / "k/pod": ("cpu.weight", "cpu.max", "memory.max"),
    }
    for folder, names in files.items():
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
    (two / "cgroup.controllers").touch()
    for root in (one, two):
        cgroups.give("/k/pod", Resources(1024, 100_000, 50_000, 64 << 20), root)
    found = {name: (folder / name).read_text() for folder, names in files.items() for name in names}
    assert found == {
        "cpu.shares": "1024",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
        "memory.limit_in_bytes": str(64 << 20),
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "memory.max": str(64 << 20),
    }
    cgroups.give("/k/pod", Resources(2), two)
    assert (two / "k/pod/cpu.max").read_text() == "max 100000"
    assert (two / "k/pod/memory.max").read_text() == "max"


async def test_a_pod_weighs_what_it_asks_for_and_grows_with_its_containers(
    node: Node, containerd: Containerd
) -> None:
    web = pod("heavy", container("main", {"cpu": "500m"}, {"cpu": "1", "memory": "64Mi"}))
    node.pods.apply(web)
    await node.ready("heavy")

    def read(controller: str, file: str) -> str:
        inside = f"{containerd.cgroup.lstrip('/')}/poduid-heavy"
        return (cgroups.ROOT / controller / inside / file).read_text().strip()

    assert (read("cpu", "cpu.shares"), read("cpu", "cpu.cfs_quota_us")) == ("512", "100000")
    assert read("memory", "memory.limit_in_bytes") == str(64 << 20)
    larger = pod("heavy", container("main", {"cpu": "1"}, {"cpu": "1500m", "memory": "96Mi"}))
    node.pods.apply(larger)
    await node.until(
        "heavy", lambda _: read("memory", "memory.limit_in_bytes") == str(96 << 20) and read("cpu", "cpu.shares")
    )
    assert (read("cpu", "cpu.shares"), read("cpu", "cpu.cfs_quota_us")) == ("1024", "150000")


def test_what_does_not_fit_is_refused_in_the_kubelets_words() -> None:
    room = {
        "cpu": Decimal(2),
        "memory": Decimal(1 << 30),
        "ephemeral-storage": Decimal(1 << 40),
        "pods": Decimal(3),
    }
    running = [pod("a", container("main", {"cpu": "500m"})), pod("b", container("main"))]
    assert refusals.no_room(pod("c", container("main", {"cpu": "1500m"})), running, room) is None
    assert refusals.no_room(pod("c", container("main", {"cpu": "1600m"})), running, room) == (
        "OutOfcpu",
        "Node didn't have enough resource: cpu, requested: 1600, used: 500, capacity: 2000",
    )
    crowd = [*running, pod("d", container("main"))]
    assert refusals.no_room(pod("e", container("main")), crowd, room) == (
        "OutOfpods",
        "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
    )


async def test_a_pod_that_was_put_on_a_full_node_fails_at_once(node: Node) -> None:
    node.pods.apply(pod("huge", container("main", {"cpu": "64"})))
    status = await node.until("huge", lambda status: status.get("phase") == "Failed")
    why = "Node didn't have enough resource: cpu, requested: 64000, used: 0, capacity: 2000"
    assert (status["reason"], status["message"]) == ("OutOfcpu", f"Pod was rejected: {why}")
    assert "containerStatuses" not in status
    assert f"OutOfcpu: {why}" in node.memory.told("huge")
