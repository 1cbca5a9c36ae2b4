"""Addresses given back, with the real plugin's own notes."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from weft.cluster.kubelet.addresses import reclaim
from weft.cluster.kubelet.runtime_config import CNI_BIN


def allocate(state: Path, sandbox: str) -> subprocess.CompletedProcess[str]:
    """What host-local says when it is asked for an address, out of two."""
    ranges = [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.5", "rangeEnd": "10.1.0.6"}]]
    ipam = {"type": "host-local", "dataDir": str(state), "ranges": ranges}
    config = {"cniVersion": "1.0.0", "name": "weft", "type": "ptp", "ipam": ipam}
    asked = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": sandbox, "CNI_IFNAME": "eth0"}
    environment = {**os.environ, **asked, "CNI_NETNS": "/dev/null", "CNI_PATH": str(CNI_BIN)}
    return subprocess.run(
        [CNI_BIN / "host-local"],
        input=json.dumps(config),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_a_crash_left_taken_is_free_again_and_the_rest_stays(tmp_path: Path) -> None:
    for sandbox in ("alive", "gone"):
        assert allocate(tmp_path, sandbox).returncode == 0
    full = allocate(tmp_path, "third")
    assert "no IP addresses available in range set" in full.stdout

    assert reclaim(tmp_path, {"alive"}, time.time() + 1) == ["10.1.0.6"]

    given = allocate(tmp_path, "third")
    assert json.loads(given.stdout)["ips"][0]["address"] == "10.1.0.6/24"


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_sandbox_that_is_being_made_keeps_its_address(tmp_path: Path, seconds: int) -> None:
    assert allocate(tmp_path, "new").returncode == 0

    assert reclaim(tmp_path, set(), time.time() - 1 - seconds) == []


def test_a_node_without_any_pod_yet_has_nothing_to_give_back(tmp_path: Path) -> None:
    assert reclaim(tmp_path / "none", set(), time.time()) == []
