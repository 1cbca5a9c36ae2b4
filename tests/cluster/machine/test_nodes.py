"""What a node is told about its pods' network, with real mounts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.adapters import files
from weft.cluster.kubelet.runtime_config import CNI_BIN
from weft.cluster.machine import commands, nodes, removal
from weft.cluster.machine.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    made = Layout(tmp_path / "a home", node_count=2)
    for node in made.nodes:
        nodes.configure(node)
    yield made
    removal.remove(made, data=False)
    assert [point for point in files.mounts() if point.is_relative_to(made.home)] == []


def test_a_node_has_the_machines_plugins_and_those_that_were_installed_on_it_alone(layout: Layout) -> None:
    one, two = (commands.paths(node) for node in layout.nodes)
    machines = {path.name for path in CNI_BIN.iterdir()}
    assert machines <= {path.name for path in one.cni_bin.iterdir()}

    (one.cni_bin / "own").write_text("#!/bin/sh\n")
    (one.cni_bin / "ptp").write_text("#!/bin/sh\n")

    assert not (two.cni_bin / "own").exists()
    assert not (CNI_BIN / "own").exists()
    assert (CNI_BIN / "ptp").stat().st_size > 1000
    assert (two.cni_bin / "ptp").stat().st_size > 1000


def test_what_was_installed_outlives_a_power_cut(layout: Layout) -> None:
    (node, _) = layout.nodes
    paths = commands.paths(node)
    (paths.cni_bin / "own").write_text("mine")

    removal.remove_node(layout, node, data=False)
    assert not (paths.cni_bin / "own").exists()
    nodes.configure(node)

    assert (paths.cni_bin / "own").read_text() == "mine"


def test_a_chain_that_an_installer_changed_stays_and_an_unchanged_one_is_kept_up_to_date(layout: Layout) -> None:
    changed, unchanged = (commands.paths(node) for node in layout.nodes)
    chain = json.loads(changed.conflist.read_text())
    chain["plugins"].append({"type": "istio-cni"})
    changed.conflist.write_text(json.dumps(chain))
    for path in (unchanged.conflist, unchanged.written_conflist):
        path.write_text('{"of": "an earlier version"}')

    for node in layout.nodes:
        nodes.configure(node)

    assert json.loads(changed.conflist.read_text()) == chain
    assert json.loads(unchanged.conflist.read_text())["name"] == "weft"


def test_a_chain_that_was_removed_comes_back(layout: Layout) -> None:
    paths = commands.paths(layout.nodes[0])
    paths.conflist.unlink()

    nodes.configure(layout.nodes[0])

    assert json.loads(paths.conflist.read_text())["name"] == "weft"


def test_containerd_is_known_as_ours_from_its_first_moment_on(layout: Layout, tmp_path: Path) -> None:
    one, two = layout.nodes
    words = commands.containerd(layout, one).words
    stages = [words[words.index(name) :] for name in ("nsenter", "unshare", "sh", "containerd")]

    for stage in stages:
        assert commands.is_ours(stage, layout), stage[0]
        assert commands.is_of_node(stage, layout, one), stage[0]
        assert not commands.is_of_node(stage, layout, two), stage[0]
        assert not commands.is_ours(stage, Layout(tmp_path / "another")), stage[0]
    assert not commands.is_ours(("sh", "-c", "sleep 1"), layout)
