"""The plugin on a node: installed, kept installed against others, and taken away."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.processes.cni.nodes import Node, until
from tests.processes.controlplane.cluster import Cluster

from weft.processes.cni import installing, leaving, settings
from weft.processes.cni.installing import Pace

Json = dict[str, Any]
NAME = "10-net.conflist"
INSTALLS = 'istio_cni_installs_total{result="SUCCESS"}'

OTHER = """
import json, os, sys, time
path, seconds = sys.argv[1], float(sys.argv[2])
end, generation = time.monotonic() + seconds, 0
def write(to, whole, part):
    with open(to, "wb", buffering=0) as file:
        for start in range(0, len(whole), part):
            file.write(whole[start : start + part])
            time.sleep(0.001)
while time.monotonic() < end:
    for way in ("over", "pieces", "anew", "rename"):
        generation += 1
        plugins = [{"type": "bridge", "generation": generation}]
        whole = json.dumps({"cniVersion": "0.3.1", "name": "net", "plugins": plugins}).encode()
        if way == "anew" and os.path.exists(path):
            os.unlink(path)
        write(path + ".new" if way == "rename" else path, whole, 20 if way == "pieces" else 4096)
        if way == "rename":
            os.rename(path + ".new", path)
print(generation)
"""
"""Another installer, which writes its network over and over, in all the ways there are."""


def write(node: Node, generation: int = 0) -> None:
    plugins = [{"type": "bridge", "generation": generation}]
    (node.net / NAME).write_text(json.dumps({"cniVersion": "0.3.1", "name": "net", "plugins": plugins}))


def plugins(node: Node) -> list[Json]:
    found: list[Json] = json.loads((node.net / NAME).read_bytes())["plugins"]
    return found


def types(node: Node) -> list[str]:
    return [each["type"] for each in plugins(node)]


async def test_all_there_is_to_install_is_installed_and_kept_so(tmp_path: Path) -> None:
    node = Node(tmp_path, "--cni-net-dir", "/nodes/a/net.d", "--cni-agent-run-dir", "/nodes/a/run")
    (node.net / "00-cut.conflist").write_text("{")
    async with node.installing():
        await until(lambda: node.waits_for().startswith("there is no network to join yet"))
        assert "00-cut.conflist is passed over" in node.waits_for()
        assert node.metric("istio_cni_install_ready") == 0
        write(node)
        (node.net / NAME).chmod(0o600)
        await node.installed()
        ours = plugins(node)[-1]
        assert ours["type"] == "istio-cni"
        assert ours["kubeconfig"] == "/nodes/a/net.d/ZZZ-istio-cni-kubeconfig"
        assert ours["cni_agent_run_dir"] == "/nodes/a/run"
        assert (node.net / NAME).stat().st_mode & 0o777 == 0o600
        kubeconfig = node.net / "ZZZ-istio-cni-kubeconfig"
        assert json.loads(kubeconfig.read_text())["users"][0]["user"] == {"token": "first"}
        assert kubeconfig.stat().st_mode & 0o777 == 0o600
        program = node.bin / "istio-cni"
        assert program.stat().st_mode & 0o777 == 0o755
        assert "the node's /usr/bin/python3" in node.health.doing["installer"]
        told = await asyncio.create_subprocess_exec(
            program, env={"CNI_COMMAND": "VERSION"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        printed, _ = await told.communicate(b"{}")
        assert "1.0.0" in json.loads(printed)["supportedVersions"]
        assert node.metric("istio_cni_install_ready") == 1

        node.write_kubeconfig("https://10.96.0.1:443", "second")
        program.write_bytes(b"")
        kubeconfig.chmod(0o644)
        await until(lambda: "second" in kubeconfig.read_text() and program.read_bytes().startswith(b"#!/usr/bin/"))
        await node.installed()
        assert kubeconfig.stat().st_mode & 0o777 == 0o600
        assert node.metric(INSTALLS) > 1
    assert node.metric("istio_cni_install_ready") == 0


async def test_a_storm_of_rewrites_ends_with_us_in_once_and_the_others_last_word_kept(tmp_path: Path) -> None:
    node = Node(tmp_path)
    write(node)
    async with node.installing():
        await node.installed()
        other = await asyncio.create_subprocess_exec(
            *(sys.executable, "-ISE", "-c", OTHER, str(node.net / NAME), "2"), stdout=subprocess.PIPE
        )
        printed, _ = await other.communicate()
        generation = int(printed)
        await until(lambda: not node.waits_for() and "istio-cni" in types(node))
        assert types(node) == ["bridge", "istio-cni"]
        assert plugins(node)[0]["generation"] == generation
        assert generation > 20
        # a storm is not answered with one
        assert node.metric(INSTALLS) < 25
    assert sorted(path.name for path in node.net.iterdir()) == [
        NAME,
        f"{NAME}.istio-cni-saved",
        "ZZZ-istio-cni-kubeconfig",
    ]


async def test_a_configuration_of_our_own_follows_the_networks(tmp_path: Path) -> None:
    node = Node(tmp_path, "--istio-owned-cni-config", "true")
    write(node, 1)
    before = (node.net / NAME).read_bytes()

    def generation() -> int:
        own = json.loads((node.net / "02-istio-cni.conflist").read_bytes())["plugins"]
        assert [each["type"] for each in own] == ["bridge", "istio-cni"]
        return int(own[0]["generation"])

    async with node.installing():
        await node.installed()
        assert generation() == 1
        assert (node.net / NAME).read_bytes() == before
        write(node, 2)
        await until(lambda: generation() == 2)
        await node.installed()
        (node.net / NAME).unlink()
        await until(lambda: bool(node.waits_for()) and not (node.net / "02-istio-cni.conflist").exists())


def test_what_comes_again_and_again_is_done_ever_more_slowly_and_at_once_after_calm() -> None:
    pace = Pace()
    assert [pace.next(now) for now in (0, 1, 2, 3, 4, 5, 6, 7, 8, 19)] == [
        *(0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2),
        0,
    ]


@pytest.mark.parametrize(
    ("state", "for_good"),
    [
        ("staying", False),
        ("no DaemonSet", True),
        ("DaemonSet going", True),
        ("namespace going", True),
        ("401", True),
        ("403", True),
        ("500", False),
        ("unreachable", False),
    ],
)
async def test_the_plugin_goes_only_where_the_mesh_goes(tmp_path: Path, state: str, for_good: bool) -> None:  # noqa: FBT001 -- a case of a table
    cluster = Answering(int(state) if state.isdigit() else 0)
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    cluster.objects["/api/v1/namespaces/istio-system"] = {"metadata": going if state == "namespace going" else {}}
    if state != "no DaemonSet":
        daemon_set: Json = {"metadata": going if state == "DaemonSet going" else {}}
        cluster.objects["/apis/apps/v1/namespaces/istio-system/daemonsets/istio-cni-node"] = daemon_set
    async with cluster.serving():
        node = Node(tmp_path, server=cluster.url if state != "unreachable" else "http://127.0.0.1:1")
        chosen = node.settings()
        gone = await leaving.is_for_good(chosen.api, chosen.namespace, leaving.DAEMON_SET)
        assert gone is for_good


class Answering(Cluster):
    """An API server that may refuse everything, by an HTTP code."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self._code = code

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self._code:
            return web.json_response({"code": self._code}, status=self._code)
        return await super()._answer(request)


async def test_it_is_uninstalled_by_hand_and_what_others_did_since_is_kept(tmp_path: Path) -> None:
    node = Node(tmp_path)
    write(node)
    async with node.installing():
        await node.installed()
    (node.net / NAME).write_text(json.dumps({"name": "changed", "plugins": plugins(node)}))
    # outside of a pod, by somebody who has no kubeconfig
    done = installing.uninstall(settings.parse(["--uninstall", *node.folders], {}, host="machine"))
    assert f"{NAME}: without us" in done
    assert types(node) == ["bridge"]
    assert [path.name for path in node.net.iterdir()] == [NAME]
    assert list(node.bin.iterdir()) == []
    assert installing.uninstall(node.settings()) == []


async def test_what_cannot_be_installed_is_told_and_tried_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    write(node)
    (node.bin / "istio-cni").mkdir(parents=True)
    async with node.installing():
        await until(lambda: "Is the folder mounted" in node.waits_for())
        assert types(node) == ["bridge"]
        assert node.metric('istio_cni_installs_total{result="COPY_BINARIES_FAILURE"}') >= 1
        (node.bin / "istio-cni").rmdir()
        await node.installed()
