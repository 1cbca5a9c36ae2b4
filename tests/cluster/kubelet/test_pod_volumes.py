"""Volumes that outlive pods, whose they are, and what is said where they cannot be mounted."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.kubelet.support import Containerd, Json, Node, pod

from weft.cluster.kubelet.environment import NodeFacts
from weft.cluster.kubelet.objects import CLAIM, VOLUME, ConfigError, Objects, Reference
from weft.cluster.kubelet.volumes import Host, volumes

NODE = NodeFacts("n", "10.0.0.1", 2, 1 << 30)


def shell(text: str = "sleep 1000", **more: Any) -> Json:
    return {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", text], **more}


def bound(name: str, **source: Json) -> dict[Reference, Json]:
    claim = {"kind": CLAIM, "spec": {"volumeName": f"pv-{name}"}, "status": {"phase": "Bound"}}
    volume = {"kind": VOLUME, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], **source}}
    return {Reference(CLAIM, "default", name): claim, Reference(VOLUME, "", f"pv-{name}"): volume}


def claimed(name: str, **more: Any) -> Json:
    return {"name": "data", "persistentVolumeClaim": {"claimName": name, **more}}


def only(web: Json, found: dict[Reference, Json]) -> object:
    (volume,) = volumes(web, "", NODE, Objects(found), {})
    return volume


def test_a_claim_stands_for_the_path_of_its_volume() -> None:
    web = pod("web", shell(), volumes=[claimed("disk", readOnly=True)])
    host = bound("disk", hostPath={"path": "/data"})
    assert only(web, host) == Host("data", "/data", "", readonly=True)
    local = bound("disk", local={"path": "/data"}, nodeAffinity={"required": {}})
    assert only(web, local) == Host("data", "/data", "Directory", grouped=True, readonly=True)
    ephemeral = pod("web", shell(), volumes=[{"name": "data", "ephemeral": {"volumeClaimTemplate": {}}}])
    assert only(ephemeral, bound("web-data", hostPath={"path": "/x"})) == Host("data", "/x", "")


def test_a_claim_that_is_not_bound_or_needs_a_driver_says_what_is_wrong() -> None:
    web = pod("web", shell(), volumes=[claimed("disk")])
    with pytest.raises(ConfigError, match='for volume "data" : persistentvolumeclaim "disk" not found'):
        only(web, {})
    waiting = {Reference(CLAIM, "default", "disk"): {"kind": CLAIM, "spec": {}, "status": {"phase": "Pending"}}}
    with pytest.raises(ConfigError, match="PVC default/disk: PVC is not bound"):
        only(web, waiting)
    with pytest.raises(ConfigError, match='"pv-disk": volumes of type csi are not supported on this node'):
        only(web, bound("disk", csi={"driver": "ebs.example"}))
    inline = pod("web", shell(), volumes=[{"name": "data", "csi": {"driver": "x"}}])
    with pytest.raises(ConfigError, match="volumes of type csi are not supported"):
        only(inline, {})


async def test_what_one_pod_wrote_to_a_claim_the_next_one_reads(node: Node, tmp_path: Path) -> None:
    node.memory.objects_ |= bound("disk", hostPath={"path": str(tmp_path / "data"), "type": "DirectoryOrCreate"})
    mounts = [{"name": "data", "mountPath": "/data", "subPathExpr": "$(WHO)"}]
    env = [{"name": "WHO", "value": "shared"}]
    writer = shell("echo kept >/data/file; sleep 1000", volumeMounts=mounts, env=env)
    node.pods.apply(pod("writer", writer, volumes=[claimed("disk")]))
    await node.ready("writer")
    reader = shell(volumeMounts=mounts, env=env)
    node.pods.apply(pod("reader", reader, volumes=[claimed("disk", readOnly=True)]))
    await node.ready("reader")
    assert await node.run("reader", "main", "cat", "/data/file") == "kept\n"
    assert "Read-only" in await node.run("reader", "main", "sh", "-c", "touch /data/no")
    assert (tmp_path / "data" / "shared" / "file").read_text() == "kept\n"


async def test_a_pod_waits_for_its_claim_and_starts_once_it_is_bound(node: Node, tmp_path: Path) -> None:
    node.pods.apply(pod("waits", shell(), volumes=[claimed("late")]))
    async with asyncio.timeout(5):
        while not any("FailedMount" in each for each in node.memory.told("waits")):
            await asyncio.sleep(0.02)
    assert node.memory.told("waits") == [
        'FailedMount: MountVolume.SetUp failed for volume "data" : persistentvolumeclaim "late" not found'
    ]
    node.memory.objects_ |= bound("late", hostPath={"path": str(tmp_path)})
    for changed in node.memory.followers[Reference(CLAIM, "default", "late")]:
        changed()
    await node.ready("waits")


async def test_the_pods_group_owns_its_volumes(node: Node) -> None:
    node.memory.put("ConfigMap", "settings", {"a": "1"})
    mounts = [{"name": "data", "mountPath": "/data"}, {"name": "settings", "mountPath": "/settings"}]
    settings = {"name": "settings", "configMap": {"name": "settings", "defaultMode": 0o400}}
    context = {"fsGroup": 2345, "runAsUser": 1000}
    node.pods.apply(
        pod(
            "grouped",
            shell(volumeMounts=mounts),
            volumes=[{"name": "data", "emptyDir": {}}, settings],
            securityContext=context,
        )
    )
    await node.ready("grouped")
    assert (await node.run("grouped", "main", "stat", "-c", "%a %g", "/data")).strip() == "2777 2345"
    made = await node.run("grouped", "main", "sh", "-c", "touch /data/x; stat -c '%u %g' /data/x")
    assert made.strip() == "1000 2345"
    assert await node.run("grouped", "main", "cat", "/settings/a") == "1"
    assert (await node.run("grouped", "main", "stat", "-Lc", "%a %g", "/settings/a")).strip() == "440 2345"


@pytest.mark.parametrize(
    ("kind", "path", "said"),
    [
        ("Directory", "file", "hostPath type check failed: {}/file is not a directory"),
        ("File", "nothing", "hostPath type check failed: {}/nothing is not a file"),
        ("Socket", "file", "hostPath type check failed: {}/file is not a socket file"),
        ("CharDevice", "file", "hostPath type check failed: {}/file is not a character device"),
        ("BlockDevice", "file", "hostPath type check failed: {}/file is not a block device"),
        ("FileOrCreate", "no/file", "open {}/no/file: no such file or directory"),
    ],
)
async def test_a_path_that_is_not_of_its_type_is_told(
    node: Node, tmp_path: Path, kind: str, path: str, said: str
) -> None:
    (tmp_path / "file").touch()
    volume = {"name": "host", "hostPath": {"path": str(tmp_path / path), "type": kind}}
    node.pods.apply(pod("typed", shell(), volumes=[volume]))
    async with asyncio.timeout(5):
        while not node.memory.told("typed"):
            await asyncio.sleep(0.02)
    prefix = 'FailedMount: MountVolume.SetUp failed for volume "host" : '
    assert node.memory.told("typed") == [prefix + said.format(tmp_path)]


async def test_a_log_is_turned_over_and_five_pieces_are_kept(node: Node, containerd: Containerd) -> None:
    node.pods.apply(pod("chatty", shell("i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done")))
    await node.ready("chatty")
    folder = containerd.paths.home / "logs" / "default_chatty_uid-chatty" / "main"
    seen: list[bytes] = []

    async def follow() -> None:
        from weft.cluster.kubelet import logs

        async for piece in logs.read(folder / "0.log", logs.Options(follow=True), lambda: False):
            seen.append(piece)  # noqa: PERF401, watched while it grows

    following = asyncio.create_task(follow())
    for _ in range(6):
        await asyncio.sleep(0.25)
        await node.pods.turn_over_logs(largest=100)
    await asyncio.sleep(0.5)
    following.cancel()
    assert len(list(folder.iterdir())) == 5
    numbers = [int(line.split()[1]) for line in b"".join(seen).splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 50
