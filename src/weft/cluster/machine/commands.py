"""The cluster's processes: what each is called, how it is started, and how it is known again."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.adapters import netns
from weft.cluster.kubelet.runtime_config import RuntimePaths
from weft.cluster.machine.layout import Layout, Node

_PYTHON_ROLES = ("supervisor", "apiserver", "node", "outside")


@dataclass(frozen=True, slots=True)
class Command:
    """A process to run: its name in the record, its words, its log file."""

    name: str
    words: tuple[str, ...]
    log: Path


def api_server(layout: Layout) -> Command:
    """The API server and the controllers, in the machine's namespace."""
    words = (
        *_weft("apiserver", layout),
        *("--bind", f"127.0.0.1:{layout.api_port}", "--bind", f"{layout.machine_ip}:{layout.api_port}"),
        *("--service-cidr", str(layout.services), "--pod-cidr", str(layout.pods)),
    )
    return Command("apiserver", words, layout.log("apiserver"))


def containerd(layout: Layout, node: Node) -> Command:
    """A node's containerd, in the node's namespaces."""
    config = paths(node).config
    # a UTS namespace of its own, so that pods with the node's network have the node's name
    named = ("unshare", "--uts", "sh", "-c", 'echo "$0" > /proc/sys/kernel/hostname; exec "$@"', node.name)
    words = (*netns.enter(node.namespace), *named, "containerd", "--config", str(config))
    return Command(f"containerd-{node.name}", words, layout.log(f"containerd-{node.name}"))


def node_process(layout: Layout, node: Node) -> Command:
    """A node's kubelet, service proxy and DNS, in the node's namespace."""
    words = (
        *netns.enter(node.namespace),
        *_weft("node", layout),
        *("--name", node.name, "--ip", str(node.ip), "--pod-cidr", str(node.pods)),
        *(word for upstream in layout.upstreams for word in ("--upstream", upstream)),
    )
    return Command(f"node-{node.name}", words, layout.log(f"node-{node.name}"))


def outside(layout: Layout) -> Command:
    """The web server of the host beyond the underlay's gateway, in that host's namespace."""
    words = (*netns.enter(layout.outside_namespace), *_weft("outside", layout))
    return Command("outside", words, layout.log("outside"))


def supervisor(layout: Layout) -> Command:
    """What starts the others again, in the machine's namespace."""
    return Command("supervisor", _weft("supervisor", layout), layout.log("supervisor"))


def of(layout: Layout) -> dict[str, Command]:
    """All processes of a cluster but the supervisor, by name, in the order in which they are started."""
    wanted = [api_server(layout)]
    wanted += [containerd(layout, node) for node in layout.nodes]
    wanted += [node_process(layout, node) for node in layout.nodes]
    wanted += [outside(layout)] if layout.underlay else []
    return {command.name: command for command in wanted}


def paths(node: Node) -> RuntimePaths:
    """Where a node's containerd lives."""
    return RuntimePaths(home=node.home, run=node.run)


def _weft(role: str, layout: Layout) -> tuple[str, ...]:
    return (sys.executable, "-m", "weft", role, "--home", str(layout.home))


def is_ours(command: Sequence[str], layout: Layout) -> bool:
    """Whether a command line is one of this cluster's: it names this very home, or this cluster's sockets.

    >>> is_ours(("/usr/bin/containerd",), Layout(Path("/root/.weft")))
    False
    """
    words = list(command)
    match Path(words[0]).name if words else "":
        case "containerd" | "nsenter" | "unshare" | "sh" if "containerd" in {Path(word).name for word in words}:
            # on the way to become containerd, a process is what puts it into its namespaces
            return _value(words, "--config").startswith(f"{layout.home}/nodes/")
        case "containerd-shim-runc-v2":
            return is_shim(command, layout)
        case "ctr" | "runc":
            # short-lived helpers, of the node process and of shims, that may outlive who started them
            return any(word.startswith(f"{layout.run}/") for word in words)
    for role in _PYTHON_ROLES:
        if ["-m", "weft", role] in (words[index : index + 3] for index in range(len(words))):
            return _value(words, "--home") == str(layout.home)
    return False


def is_of_node(command: Sequence[str], layout: Layout, node: Node) -> bool:
    """Whether a command line is one of a node's: its containerd, its node process, and what these started."""
    if not is_ours(command, layout):
        return False
    words = list(command)
    if ["-m", "weft", "node"] in (words[index : index + 3] for index in range(len(words))):
        return _value(words, "--name") == node.name
    return any(word.startswith((f"{node.run}/", f"{node.home}/")) for word in words)


def is_shim(command: Sequence[str], layout: Layout) -> bool:
    """Whether a command line is that of a shim, which holds one pod's containers, of this cluster."""
    words = list(command)
    if not words or Path(words[0]).name != "containerd-shim-runc-v2":
        return False
    return _value(words, "-address").startswith(f"{layout.run}/")


def _value(words: list[str], option: str) -> str:
    try:
        return words[words.index(option) + 1]
    except (ValueError, IndexError):
        return ""
