"""`weft up`, `down` and `status` as a user meets them when something is in the way."""

import fcntl
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.adapters import netlink, netns
from weft.cluster.machine.layout import Layout


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[str]:
    """A network namespace without a way out, to play the machine."""
    name = f"cli-{os.getpid()}"
    netlink.batch([f"netns add {name}"])
    netlink.batch(["link set lo up"], namespace=name)
    yield name
    netns.remove(name)


def weft(machine: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*netns.enter(machine), sys.executable, "-m", "weft", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def test_help_says_what_down_removes_and_keeps(machine: str) -> None:
    shown = weft(machine, "down", "--help").stdout

    assert "Delete the cluster" in shown
    assert "images.yaml" in shown


@pytest.mark.parametrize("words", [("up",), ("down",), ("node", "stop")])
def test_paragraphs_of_help_fill_their_lines(machine: str, words: tuple[str, ...]) -> None:
    shown = weft(machine, *words, "--help", COLUMNS="80").stdout
    lines = [line.strip() for line in shown.split("╭")[0].splitlines()]

    for line, following in itertools.pairwise(lines):
        if line and following:
            assert len(line) + len(following.split(" ")[0]) >= 77, f"{line!r} had room for more"


def test_status_without_a_cluster_is_code_3_and_names_the_next_command(machine: str, tmp_path: Path) -> None:
    done = weft(machine, "status", "--home", str(tmp_path / "none"))

    assert done.returncode == 3
    assert "weft up" in done.stderr
    assert not (tmp_path / "none").exists()


def test_status_for_scripts_says_the_same_as_its_code(machine: str, tmp_path: Path) -> None:
    done = weft(machine, "status", "-o", "json", "--home", str(tmp_path / "none"))

    assert done.returncode == 3
    assert json.loads(done.stdout)["health"] == "ABSENT"


def test_a_full_disk_behind_standard_output_stops_nothing(machine: str, tmp_path: Path) -> None:
    words = [*netns.enter(machine), sys.executable, "-m", "weft", "down", "--home", str(tmp_path / "none")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("options", "said"), [("ro", "Read-only file system"), ("size=1M", "MiB left")])
def test_a_disk_that_takes_nothing_is_one_line_with_a_way_out(
    machine: str, tmp_path: Path, options: str, said: str
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)], check=True)
    try:
        done = weft(machine, "up", "--home", str(tmp_path / "home"))
        left = list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)

    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "weft up --home DIR" in done.stderr
    assert left == []


def test_node_without_a_cluster_names_the_next_command(machine: str, tmp_path: Path) -> None:
    for words in (("list",), ("stop", "weft"), ("start", "weft")):
        done = weft(machine, "node", *words, "--home", str(tmp_path / "none"))
        assert done.returncode == 1
        assert "weft up" in done.stderr


def test_down_without_a_cluster_says_so_and_makes_nothing(machine: str, tmp_path: Path) -> None:
    done = weft(machine, "down", "--home", str(tmp_path / "none"))

    assert done.returncode == 0
    assert "nothing to remove" in done.stdout
    assert not (tmp_path / "none").exists()


def test_down_leaves_a_folder_alone_that_is_no_home(machine: str, tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "letters.txt").write_text("mine")
    weft(machine, "down", "--home", str(tmp_path))

    assert (tmp_path / "letters.txt").read_text() == "mine"
    assert (tmp_path / "nodes").is_dir()


def test_up_refuses_a_folder_that_holds_other_things(machine: str, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    done = weft(machine, "up", "--home", str(tmp_path))

    assert done.returncode == 1
    assert "letters.txt" in done.stderr
    assert "weft up --home DIR" in done.stderr


def test_up_names_the_way_out_of_a_taken_range_and_starts_nothing(machine: str, tmp_path: Path) -> None:
    netlink.batch(["addr add 10.244.7.7/24 dev lo"], namespace=machine)
    done = weft(machine, "up", WEFT_HOME=str(tmp_path / "home"))

    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "weft up --pod-cidr 10.42.0.0/16" in done.stderr
    layout = Layout(tmp_path / "home")
    assert not [name for name in netns.names() if name.startswith(layout.tag)]
    assert not layout.run.exists()
    assert not layout.home.exists()


def test_up_without_root_is_one_line_and_makes_nothing(tmp_path: Path) -> None:
    # nobody to the kernel's eyes, but still allowed to read where the tests lie
    words = ["unshare", "--user", sys.executable, "-m", "weft", "up", "--home", "/tmp/weft-of-nobody"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, cwd="/")

    assert done.returncode == 1
    assert "sudo weft up" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not Path("/tmp/weft-of-nobody").exists()


def test_up_names_the_way_out_of_a_taken_port(machine: str, tmp_path: Path) -> None:
    def listen() -> socket.socket:
        return socket.create_server(("127.0.0.1", 6443))

    with netns.inside(machine, listen):
        done = weft(machine, "up", "--home", str(tmp_path / "home"))

    assert done.returncode == 1
    assert "weft up --api-port 6444" in done.stderr


def test_a_range_that_is_none_is_one_line(machine: str, tmp_path: Path) -> None:
    done = weft(machine, "up", "--home", str(tmp_path / "home"), "--pod-cidr", "10.244.0.0/99")

    assert done.returncode == 1
    assert "--pod-cidr" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_up_at_the_same_time_is_turned_away(machine: str, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = weft(machine, "up", "--home", str(tmp_path))

    assert done.returncode == 1
    assert "another weft" in done.stderr


def test_a_process_that_cannot_start_takes_everything_down_again(machine: str, tmp_path: Path) -> None:
    """A containerd that ends at once: the first in PATH is none."""
    fake = tmp_path / "bin" / "containerd"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'no such luck'\nexit 1\n")
    fake.chmod(0o755)
    home = tmp_path / "home"
    done = weft(machine, "up", "--home", str(home), PATH=f"{fake.parent}:{os.environ['PATH']}")

    assert done.returncode == 1
    assert "containerd-weft ended: no such luck" in done.stderr
    assert str(home / "log" / "containerd-weft.log") in done.stderr
    assert (home / "log" / "containerd-weft.log").read_text() == "no such luck\n"
    layout = Layout(home)
    assert not [name for name in netns.names() if name.startswith(layout.tag)]
    assert not layout.run.exists()
    assert {entry.name for entry in home.iterdir()} == {"log", ".lock"}


def test_processes_of_a_pod_start_without_the_command_line_app() -> None:
    code = (
        "import sys; sys.argv = ['weft', 'istio-iptables', '--help']\n"
        "from weft.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('typer', 'rich', 'aiohttp') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)

    assert done.stdout.splitlines()[-1] == "[]", done.stderr
