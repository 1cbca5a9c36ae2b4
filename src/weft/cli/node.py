"""`weft node list`, `stop` and `start`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.options import DEFAULT_HOME, Home, absolute, fail, say_error

if TYPE_CHECKING:
    from weft.cluster.machine.layout import Layout, Node
    from weft.cluster.machine.record import Record

Name = Annotated[str, typer.Argument(metavar="NAME", help="The node, as `kubectl get nodes` names it.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
    group.command("list")(list_nodes)
    group.command("stop")(stop)
    group.command("start")(start)
    app.add_typer(group, name="node", help="List the cluster's nodes; stop one as by a power cut, and start it.")


def list_nodes(home: Home = DEFAULT_HOME) -> None:
    """List the nodes as this machine sees them. What Kubernetes thinks of them: kubectl get nodes."""
    from rich.table import Table

    from weft.cli.display import Steady
    from weft.cluster.machine import nodes

    layout, held = _cluster(absolute(home))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("NAME", "STATE", "ADDRESS", "PODS", "PID"):
        table.add_column(column)
    for one in nodes.states(layout, held):
        state = "running" if one.runs else "stopped" if one.stopped else "[red]not running[/]"
        table.add_row(one.node.name, state, str(one.node.ip), str(one.node.pods), str(one.pid or ""))
    Steady(highlight=False).print(table)


def stop(name: Name, home: Home = DEFAULT_HOME) -> None:
    """Stop a node at once, as if its machine lost power: nothing on it has time to say goodbye.

    Its processes, its pods and its network are gone; its disk stays. Kubernetes notices by itself: the node
    becomes NotReady, and its pods are evicted later. Other nodes go on.
    """
    from weft.adapters import files
    from weft.adapters.netlink import NetlinkError
    from weft.cluster.machine import nodes, removal

    place = absolute(home)
    layout, _ = _cluster(place)
    try:
        with files.locked(place / removal.LOCK, patience=removal.PATIENCE):
            layout, held = _cluster(place)
            node = _named(layout, name)
            stopped = nodes.stop(layout, held, node)
    except files.LockedError:
        _busy(place)
    except (OSError, NetlinkError) as error:
        fail(f"{name} is not wholly stopped: {error}.", f"Try again: weft node stop {name}")
    _say(f"node {name} {'stopped' if stopped else 'is stopped already'}. Start it: weft node start {name}")


def start(name: Name, home: Home = DEFAULT_HOME) -> None:
    """Start a stopped node, and wait until it is Ready."""
    import asyncio
    import time

    from weft.adapters import files
    from weft.cli.display import Steady, display
    from weft.cluster.machine import nodes, removal
    from weft.cluster.machine.steps import Steps
    from weft.cluster.machine.trouble import UpError

    place = absolute(home)
    layout, _ = _cluster(place)
    try:
        with files.locked(place / removal.LOCK, patience=removal.PATIENCE):
            layout, held = _cluster(place)
            node = _named(layout, name)
            if any(one.runs for one in nodes.states(layout, held) if one.node == node):
                _say(f"node {name} runs already.")
                return
            with display(Steady()) as watcher:
                asyncio.run(nodes.start(layout, held, node, Steps(watcher, time.perf_counter)))
    except files.LockedError:
        _busy(place)
    except UpError as error:
        for trouble in error.troubles:
            say_error(trouble.what, trouble.way_out)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        fail("interrupted; the node starts on by itself.", "See: weft node list", code=130)
    _say(f"node {name} is Ready.")


def _say(line: str) -> None:
    from weft.cli.display import Steady

    Steady(highlight=False, markup=False, soft_wrap=True).print(line)


def _cluster(place: Path) -> "tuple[Layout, Record]":
    from os import geteuid

    from weft.cluster.machine import record

    if geteuid():
        fail("weft node must run as root.", "Try: sudo weft node")
    held = record.load(place)
    if held is None:
        fail(f"no cluster of {place}.", "Start one: weft up")
    return held.layout(), held


def _named(layout: "Layout", name: str) -> "Node":
    found = next((node for node in layout.nodes if node.name == name), None)
    if found is None:
        fail(f'node "{name}" not found.', f"There are: {', '.join(node.name for node in layout.nodes)}")
    return found


def _busy(place: Path) -> None:
    fail(f"another weft command works on {place} right now.", "Wait for it, or see: ps ax | grep weft")
