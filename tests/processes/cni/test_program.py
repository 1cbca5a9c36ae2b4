from pathlib import Path

import pytest

from weft.processes.cni import program
from weft.processes.cni.program import NoProgramError, choose


def test_the_nodes_python_runs_the_plugin_where_there_is_one() -> None:
    found = choose("auto", Path("/"))
    assert found.content.startswith(b"#!/usr/bin/python3")
    assert found.content.partition(b"\n")[0].endswith(b" -ISE")
    assert "the node's /usr/bin/python3" in found.about


def test_a_node_without_python_gets_the_self_contained_one_and_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "SELF_CONTAINED", tmp_path / "istio-cni")
    (tmp_path / "usr").mkdir()
    with pytest.raises(NoProgramError, match=r"there is no python3 .* and this image has no .*istio-cni"):
        choose("auto", tmp_path)
    with pytest.raises(NoProgramError, match="CNI_PLUGIN_PROGRAM=self-contained"):
        choose("python", tmp_path)
    (tmp_path / "istio-cni").write_bytes(b"\x7fELF plugin")
    found = choose("auto", tmp_path)
    assert found.content == b"\x7fELF plugin"
    assert "there is no python3" in found.about
    assert choose("self-contained", Path("/")).content == b"\x7fELF plugin"
