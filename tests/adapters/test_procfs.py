"""Pods told by the control groups of their processes, and their network namespaces among real processes."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.processes import sleeping

from weft.adapters import netns, procfs

UID = "6f1c2f0e-8a57-4c0e-9d6b-3f2f5a1b7c9d"
OTHER = "11111111-2222-4333-8444-555555555555"
HOSTS = "99999999-2222-4333-8444-555555555555"
CONTAINER = "0123456789abcdef" * 4
SLICE = UID.replace("-", "_")


@pytest.mark.parametrize(
    "cgroups",
    [
        pytest.param(f"0::/kubepods/burstable/pod{UID}/{CONTAINER}", id="v2, cgroupfs"),
        pytest.param(f"0::/kubepods/pod{UID}/{CONTAINER}", id="v2, cgroupfs, guaranteed"),
        pytest.param(
            f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SLICE}.slice"
            f"/cri-containerd-{CONTAINER}.scope",
            id="v2, systemd, containerd",
        ),
        pytest.param(
            f"0::/kubepods.slice/kubepods-pod{SLICE}.slice/crio-{CONTAINER}.scope/container",
            id="v2, systemd, CRI-O, guaranteed",
        ),
        pytest.param(
            f"12:pids:/kubepods/besteffort/pod{UID}/{CONTAINER}\n1:name=systemd:/kubepods/besteffort/pod{UID}/x\n",
            id="v1, cgroupfs",
        ),
        pytest.param(
            f"4:memory:/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SLICE}.slice"
            f"/crio-{CONTAINER}.scope",
            id="v1, systemd, CRI-O",
        ),
        pytest.param(
            f"4:memory:/system.slice/containerd.service/kubepods-burstable-pod{SLICE}.slice"
            f":cri-containerd:{CONTAINER}",
            id="v1, the kubelet by systemd and containerd by cgroupfs",
        ),
        pytest.param(
            f"9:name=systemd:/\n4:memory:/weft-1/weft-2/pod{UID}/{CONTAINER}\n0::/\n",
            id="hybrid",
        ),
        pytest.param(
            f"4:memory:/\n0::/../../kubepods-burstable-pod{SLICE}.slice/cri-containerd-{CONTAINER}.scope\n",
            id="seen from another cgroup namespace",
        ),
        pytest.param(
            f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice"
            f"/kubelet-kubepods-burstable-pod{SLICE}.slice/cri-containerd-{CONTAINER}.scope",
            id="a kubelet below a slice of its own",
        ),
        pytest.param(
            f"0::/kubepods/burstable/pod{OTHER}/{CONTAINER}/kubelet/kubepods/burstable/pod{UID}/{CONTAINER}",
            id="a cluster inside of a pod",
        ),
    ],
)
def test_a_process_tells_its_pod_however_the_cgroup_driver_spells_it(cgroups: str) -> None:
    assert procfs.pod_of(cgroups) == UID


@pytest.mark.parametrize(
    "cgroups",
    [
        "0::/system.slice/containerd.service\n",
        "0::/\n",
        f"0::/user.slice/podman-{UID}.scope\n",
        f"0::/kubepods/tripod{UID}/x\n",
        f"0::/kubepods/pod{UID}f/x\n",
        "garbage",
    ],
)
def test_other_processes_belong_to_no_pod(cgroups: str) -> None:
    assert procfs.pod_of(cgroups) is None


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    names = (f"weft-procfs-{os.getpid()}-a", f"weft-procfs-{os.getpid()}-b")
    with contextlib.ExitStack() as stack:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
            stack.callback(subprocess.run, ["ip", "netns", "del", name], check=True, timeout=10)
        yield names


def entered(path: str) -> int:
    """The inode of the namespace that one is in who enters by a path."""
    return netns.inside(path, netns.current)


def test_one_walk_finds_the_namespaces_of_many_pods(namespaces: tuple[str, str]) -> None:
    own, further = namespaces
    with (
        sleeping(UID, own),
        sleeping(UID, further),  # what a pod makes for itself later
        sleeping(OTHER, further),
        sleeping(HOSTS, None),  # hostNetwork
        procfs.network_namespaces([UID, OTHER, HOSTS, "a-pod-without-processes"]) as found,
    ):
        assert {uid: entered(path) for uid, path in found.items()} == {
            UID: entered(own),
            OTHER: entered(further),
        }


def test_a_namespace_stays_the_pods_when_its_process_has_ended(namespaces: tuple[str, str]) -> None:
    expected = entered(namespaces[0])
    with contextlib.ExitStack() as stack:
        with sleeping(UID, namespaces[0]):
            found = stack.enter_context(procfs.network_namespaces([UID]))
        assert entered(found[UID]) == expected


def test_a_number_that_has_passed_to_another_process_is_not_entered(tmp_path: Path) -> None:
    """The machine's /proc as it was a moment ago: the process of then is not the one of now."""
    for name in ("1", "42"):
        (tmp_path / name / "ns").mkdir(parents=True)
        (tmp_path / name / "ns/net").symlink_to("/proc/self/ns/net")
    (tmp_path / "42/cgroup").write_text(f"0::/kubepods/pod{UID}/x\n")
    (tmp_path / "42/stat").write_text("42 (a) b) S" + " 0" * 18 + " 6 0\n")
    assert procfs._open(tmp_path, procfs._Process(started=5, pid=42, uid=UID)) is None
    same = procfs._open(tmp_path, procfs._Process(started=6, pid=42, uid=UID))
    assert same is not None
    os.close(same)
