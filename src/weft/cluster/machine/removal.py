"""Taking a cluster off the machine: all that bears its name, as found there and not only as recorded.

It works after any crash, with any part missing, and again and again.
"""

import base64
import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weft.adapters import files, netlink, netns, processes
from weft.adapters.processes import Identity
from weft.cluster.machine import commands
from weft.cluster.machine.layout import Layout, Node

LOCK = ".lock"
PATIENCE = 1.0
"""Seconds to wait for the lock: the supervisor holds it for a moment when it starts something again."""
MARKS = ("cluster.json", "pki/sa.key")
"""What shows that a folder is a cluster's home. The record goes last, so that a broken-off removal can go on."""

OWNED = (
    "kubeconfig",
    "store.db",
    "store.db-wal",
    "store.db-shm",
    "nodes",
    "log",
    "pki",
    "volumes",
    "cluster.json",
)
"""All that a cluster writes into its home. Anything else there (images.yaml) is the user's and stays."""

_CNI_CACHE = Path("/var/lib/cni/results")
_SHIM_SOCKETS = Path("/run/containerd/s")


@dataclass(slots=True)
class Removed:
    """What was there, counted by kind: `processes`, `pod namespaces`, `mounts` and so on."""

    counts: dict[str, int] = field(default_factory=dict)

    def note(self, what: str, count: int = 1) -> None:
        """Count something that was removed."""
        if count:
            self.counts[what] = self.counts.get(what, 0) + count


@dataclass(frozen=True, slots=True)
class _Bundle:
    """What containerd's state tells of one running container or sandbox."""

    id: str
    socket: Path | None


@dataclass(frozen=True, slots=True)
class _Extent:
    """What a removal is about, by the names it bears: a whole cluster, or one of its nodes."""

    home: Path
    runs: tuple[Path, ...]
    """The folders of nodes' runtime state."""
    cgroup: str
    namespaces: frozenset[str]
    ours: Callable[[Sequence[str]], bool]
    patience: float
    """Seconds that processes have to end by themselves."""


def _whole(layout: Layout) -> _Extent:
    return _Extent(
        home=layout.home,
        runs=tuple(layout.run.glob("*")),
        cgroup=layout.tag,
        namespaces=frozenset(name for name in netns.names() if name.startswith(f"{layout.tag}-")),
        ours=lambda command: commands.is_ours(command, layout),
        patience=2.0,
    )


def remove(layout: Layout, *, data: bool, keep: Iterable[str] = ()) -> Removed:
    """Remove all that runs, is mounted or linked; with `data` the home's content too, except `keep`."""
    removed = Removed()
    _clear(layout, _whole(layout), removed)
    if layout.run.exists():
        files.remove(layout.run)
        removed.note("runtime state")
        with contextlib.suppress(OSError):
            layout.run.parent.rmdir()
    if data:
        _home(layout, frozenset(keep), removed)
    return removed


def remove_node(layout: Layout, node: Node, *, data: bool) -> Removed:
    """End one node as if its machine lost power: nothing of it is asked, nothing goes on running.

    With `data` its disk goes too.
    """
    removed = Removed()
    extent = _Extent(
        home=node.home,
        runs=(node.run,),
        cgroup=f"{layout.tag}/{node.name}",
        namespaces=frozenset({node.namespace}) & netns.names(),
        ours=lambda command: commands.is_of_node(command, layout, node),
        patience=0.0,
    )
    _clear(layout, extent, removed)
    files.remove(node.run)
    if data:
        _with_retry(lambda: files.remove(node.home))
    return removed


def _clear(layout: Layout, extent: _Extent, removed: Removed) -> None:
    """All that runs, is mounted or linked."""
    bundles = _bundles(extent)
    _processes(layout, extent, removed)
    _mounts(extent, removed)
    for group in files.cgroups(extent.cgroup):
        files.remove_cgroup(group)
        removed.note("control groups")
    _network(layout, extent, removed)
    _leftovers(extent, bundles)


def _processes(layout: Layout, extent: _Extent, removed: Removed) -> None:
    """First those that would start others, then shims and containers; whatever was started meanwhile goes too."""
    groups = files.cgroups(extent.cgroup)
    for _ in range(5):
        found = processes.find(extent.ours)
        shims = [one for one in found if commands.is_shim(one.command, layout)]
        others = [one.identity for one in found if one not in shims]
        if extent.patience:
            processes.end(others, patience=extent.patience)
        else:
            processes.kill(others)
        contained = [processes.identify(pid) for group in groups for pid in files.cgroup_pids(group)]
        rest: list[Identity] = [*(one for one in contained if one), *(one.identity for one in shims)]
        processes.kill(set(rest))
        removed.note("processes", len(found) - len(shims))
        removed.note("container processes", len({one.pid for one in contained if one}))
        if not found and not rest:
            return


def _mounts(extent: _Extent, removed: Removed) -> None:
    prefixes = tuple(f"{folder}/" for folder in (extent.home, *extent.runs))
    # the last mounted first: a mount upon a mount hides the one below
    for point in reversed(files.mounts()):
        if f"{point}/".startswith(prefixes):
            # containerd keeps the namespaces of its pods below its own state
            kind = "pod namespaces" if Path(point).parent.name == "netns" else "mounts"
            removed.note(kind, int(files.unmount(point)))


def _network(layout: Layout, extent: _Extent, removed: Removed) -> None:
    if layout.lan_namespace in extent.namespaces:
        # the pair goes at once with either end; waiting for the namespace's own end would leave it for a moment
        with contextlib.suppress(netlink.NetlinkError):
            netlink.batch(["link del machine"], namespace=layout.lan_namespace)
            removed.note("links and their routes")
    for name in sorted(extent.namespaces):
        removed.note("namespaces", int(netns.remove(name)))


def _bundles(extent: _Extent) -> list[_Bundle]:
    found = []
    tasks = "containerd/io.containerd.runtime.v2.task/*/*"
    for bundle in (bundle for run in extent.runs for bundle in run.glob(tasks)):
        address = (files.read(bundle / "address") or "").strip().removeprefix("unix://")
        found.append(_Bundle(bundle.name, Path(address) if address else None))
    return found


def _leftovers(extent: _Extent, bundles: list[_Bundle]) -> None:
    """What containerd and libcni keep outside of our folders."""
    for bundle in bundles:
        if bundle.socket and bundle.socket.parent == _SHIM_SOCKETS:
            bundle.socket.unlink(missing_ok=True)
    for folder in (_SHIM_SOCKETS, _SHIM_SOCKETS.parent):
        # empty means that no other containerd uses it
        with contextlib.suppress(OSError):
            folder.rmdir()
    ids = {bundle.id for bundle in bundles}
    for cached in _CNI_CACHE.glob("weft-*-eth0"):
        if _is_of(cached, extent.home):
            ids.add(cached.name.removeprefix("weft-").removesuffix("-eth0"))
            cached.unlink(missing_ok=True)
    for one in ids:
        # by any network: a plugin that was dropped into a node has a name of its own
        for cached in _CNI_CACHE.glob(f"*-{one}-*"):
            cached.unlink(missing_ok=True)


def _is_of(cached: Path, home: Path) -> bool:
    # libcni keeps each attachment's configuration; ours names the home
    try:
        config = base64.b64decode(json.loads(cached.read_text())["config"]).decode()
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return f"{home}/" in config


def _home(layout: Layout, keep: frozenset[str], removed: Removed) -> None:
    if not layout.home.is_dir() or foreign(layout.home):
        return
    entries = [layout.home / name for name in OWNED if name not in keep and (layout.home / name).exists()]
    _with_retry(lambda: _remove_all(entries))
    removed.note("files and folders of the home", len(entries))
    forsake(layout.home)


def forsake(home: Path) -> None:
    """Remove a home that nothing is left in, or nothing was put into."""
    if home.is_dir() and {entry.name for entry in home.iterdir()} <= {LOCK}:
        files.remove(home)


def foreign(home: Path) -> list[str]:
    """What a folder holds that no `weft up` put there, where none marked it as its own: it is not touched.

    The logs that a failed `up` leaves are no mark, and nothing foreign.
    """
    if not home.is_dir() or any((home / mark).exists() for mark in MARKS):
        return []
    return sorted({entry.name for entry in home.iterdir()} - {"images.yaml", "log", LOCK})


def _remove_all(entries: Iterable[Path]) -> None:
    for entry in entries:
        files.remove(entry)


def _with_retry(work: Callable[[], None]) -> None:
    # lazily unmounted overlays let go of their folders a moment after their last process
    for attempt in range(20):
        try:
            work()
        except OSError:
            if attempt == 19:
                raise
            processes.pause(0.05)
        else:
            return
