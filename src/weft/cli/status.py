"""`weft status`."""

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.options import DEFAULT_HOME, Home, absolute, say_error

if TYPE_CHECKING:
    from weft.cluster.machine.status import Part, Status


class Form(Enum):
    """How it is printed."""

    TABLE = "table"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("status")(status)


Output = Annotated[Form, typer.Option("--output", "-o", help="Output format.", show_default=False, metavar="json")]


def status(home: Home = DEFAULT_HOME, output: Output = Form.TABLE) -> None:
    """Show what runs of the cluster, and what it weighs. Changes nothing.

    Exit code: 0 everything runs, 1 something does not, 3 no cluster runs.
    """
    import asyncio
    from os import geteuid

    from weft.cluster.machine import record
    from weft.cluster.machine.status import Health, Status, look

    place = absolute(home)
    if geteuid() and place.exists():
        say_error("weft status must run as root to see the cluster's processes.", "Try: sudo weft status")
        raise typer.Exit(1)
    held = record.load(place)
    if held is None:
        if output is Form.JSON:
            _print_json(Status(()), "")
        say_error(f"no cluster of {place}.", "Start one: weft up")
        raise typer.Exit(Health.ABSENT)
    found = asyncio.run(look(held.layout(), held))
    if output is Form.JSON:
        _print_json(found, str(held.layout().kubeconfig))
        raise typer.Exit(found.health)
    _show(found, str(held.layout().kubeconfig))
    logs = held.layout().log("apiserver").parent
    match found.health:
        case Health.DEGRADED:
            say_error(f"not everything runs (logs: {logs}).", "Start what is missing: weft up")
        case Health.ABSENT:
            say_error(
                f"the cluster does not run (logs: {logs}).", "Start it again: weft up, or delete it: weft down"
            )
    raise typer.Exit(found.health)


def _show(found: "Status", kubeconfig: str) -> None:
    from importlib.metadata import version

    from rich.table import Table

    from weft.cli.display import Steady
    from weft.cluster.machine.status import total

    console = Steady(highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("PART", "STATE", "PID"):
        table.add_column(column, overflow="fold")
    for column in ("RSS MiB", "PSS MiB"):
        table.add_column(column, justify="right")
    for part in found.parts:
        table.add_row(*_cells(part))
    weights = [part.memory for part in found.parts if part.memory]
    if weights:
        everything = total(weights)
        table.add_row("together", "", "", _mib(everything.rss), _mib(everything.pss), style="bold")
    console.print(table)
    console.print(f"\nkubeconfig  {kubeconfig}\nweft        {version('weft')}", soft_wrap=True)
    for what, value in found.versions:
        console.print(f"{what:11} {value}", soft_wrap=True)


def _print_json(found: "Status", kubeconfig: str) -> None:
    """For scripts: the same, memory in KiB; `health` is HEALTHY, DEGRADED or ABSENT, as the exit code says."""
    import json
    from importlib.metadata import version

    from weft.cli.display import Steady

    parts = [
        {
            "name": part.name,
            "runs": part.runs,
            "detail": part.detail,
            **({"pid": part.pid} if part.pid else {}),
            **({"rssKiB": part.memory.rss, "pssKiB": part.memory.pss} if part.memory else {}),
        }
        for part in found.parts
    ]
    told = {
        "health": found.health.name if parts else "ABSENT",
        "kubeconfig": kubeconfig,
        "version": version("weft"),
        "parts": parts,
        "versions": dict(found.versions),
    }
    Steady(highlight=False, markup=False, soft_wrap=True).print(json.dumps(told, indent=2))


def _cells(part: "Part") -> tuple[str, str, str, str, str]:
    state = f"[green]{part.detail}[/]" if part.runs else f"[red]{part.detail}[/]"
    weight = (_mib(part.memory.rss), _mib(part.memory.pss)) if part.memory else ("", "")
    return part.name, state, str(part.pid or ""), *weight


def _mib(kib: int) -> str:
    return f"{kib / 1024:.0f}"
