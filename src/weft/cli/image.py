"""`weft image`: what image names run here, names of one's own, and images from files."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from weft.cli.options import DEFAULT_HOME, Home, absolute, fail

if TYPE_CHECKING:
    from weft.adapters.cri.types import Image
    from weft.cluster.kubelet.aliases import Alias
    from weft.cluster.machine.layout import Layout

_FILE = "images.yaml"
_Done = TypeVar("_Done")


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    group = typer.Typer(help="See and say what image names run.", no_args_is_help=True)
    group.command("list")(list_images)
    group.command("alias")(alias)
    group.command("import")(import_images)
    app.add_typer(group, name="image")


def list_images(home: Home = DEFAULT_HOME) -> None:
    """Show what image names stand for, and the images that each node has."""
    place = absolute(home)
    own, builtin = _aliases(place)
    rows = [(each.name, _patterns(each), each.about, _FILE, _lacking(each)) for each in own]
    rows += [(each.name, _patterns(each), each.about, "weft", _lacking(each)) for each in builtin]
    _table(("ALIAS", "IMAGES", "RUN", "FROM", "LACKING"), rows)
    layout = _layout(place)
    if layout is None:
        typer.echo("\nNo cluster runs, so no node has images. Start one: weft up")
        return
    found = asyncio.run(_on_nodes(layout, _listed))
    images = [
        (name, node, image.id.removeprefix("sha256:")[:12], f"{image.size / 1e6:.1f} MB")
        for node, listed in found
        for image in listed
        for name in image.tags or image.digests
        if not name.startswith("weft.local/alias/")
    ]
    typer.echo()
    _table(("IMAGE", "NODE", "ID", "SIZE"), sorted(images))


def alias(
    name: Annotated[str, typer.Argument(help="What to run: one of weft's aliases (see weft image list).")],
    patterns: Annotated[list[str], typer.Argument(help="Image names that run it; * stands for anything.")],
    home: Home = DEFAULT_HOME,
) -> None:
    """Let image names run what one of weft's own aliases does: shell, nginx, python and so on.

    Written to HOME/images.yaml, where more can be said; running nodes read it for the next container.
    """
    from weft.adapters import files
    from weft.cluster.kubelet import aliases
    from weft.cluster.kubelet.images import builtin

    place = absolute(home)
    known = builtin()
    if name not in {each.name for each in known}:
        fail(f'no alias of weft\'s is called "{name}".', f"There are {', '.join(each.name for each in known)}.")
    if bad := [pattern for pattern in patterns if not pattern.strip() or " " in pattern]:
        fail(f'"{bad[0]}" is not an image name.', "Write names such as registry.example/app:* without spaces.")
    file = place / _FILE
    _aliases(place)  # a file that cannot be read is not written to either
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    wanted = [aliases.familiar(pattern) for pattern in patterns]
    try:
        place.mkdir(parents=True, exist_ok=True)
        files.write(file, aliases.with_alias(text, name, name, wanted))
    except OSError as error:
        fail(f"{file}: {error.strerror}.", "Run it as the user who owns the cluster's folder.")
    about = next(each.about for each in known if each.name == name)
    for pattern in wanted:
        typer.echo(f"{pattern} runs {about}")


def import_images(
    archive: Annotated[Path, typer.Argument(help="A file of docker save, or an OCI image layout in a tar.")],
    home: Home = DEFAULT_HOME,
) -> None:
    """Bring the images of a file into every node, so that pods run them by their names."""
    from weft.adapters.cri.ctr import ImportFailedError, import_file
    from weft.cluster.kubelet.oci import ArchiveError, names

    place = absolute(home)
    if not archive.is_file():
        fail(f"{archive}: no such file.")
    try:
        named = names(archive)
    except ArchiveError as error:
        fail(str(error))
    layout = _layout(place)
    if layout is None:
        fail("no cluster runs.", "Start one: weft up")

    async def bring(socket: Path) -> None:
        await import_file(socket, archive.absolute())

    try:
        done = asyncio.run(_on_nodes(layout, bring))
    except ImportFailedError as error:
        fail(f"{archive}: containerd: {error}")
    for node, _ in done:
        for name in named:
            typer.echo(f"{name} imported into {node}")


def _aliases(place: Path) -> "tuple[tuple[Alias, ...], tuple[Alias, ...]]":
    """The user's aliases and weft's."""
    from weft.cluster.kubelet import aliases
    from weft.cluster.kubelet.images import builtin

    known, file = builtin(), place / _FILE
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        return aliases.parse(text, str(file), known), known
    except aliases.AliasError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{file}: {error.strerror}.", "Run it as the user who owns the cluster's folder.")


def _layout(place: Path) -> "Layout | None":
    """The cluster of a home, if any of its nodes runs."""
    from os import geteuid

    from weft.cluster.machine import record

    if geteuid():
        fail("weft image must run as root to reach the nodes' containerd.", "Try: sudo weft image …")
    held = record.load(place)
    layout = held.layout() if held is not None else None
    return layout if layout is not None and any(node.run.exists() for node in layout.nodes) else None


async def _on_nodes(layout: "Layout", work: Callable[[Path], Awaitable[_Done]]) -> list[tuple[str, _Done]]:
    """The work done with the containerd of each node that runs, one after the other."""
    from weft.cluster.kubelet.runtime_config import RuntimePaths

    sockets = [(node.name, RuntimePaths(home=node.home, run=node.run).socket) for node in layout.nodes]
    return [(name, await work(socket)) for name, socket in sockets if socket.exists()]


async def _listed(socket: Path) -> "list[Image]":
    from weft.adapters.cri import descriptors
    from weft.adapters.cri.client import CriError, Runtime

    try:
        async with Runtime(socket, descriptors.load()) as runtime:
            return await runtime.images()
    except CriError as error:
        fail(f"containerd at {socket}: {error}.", "See what runs: weft status")


def _patterns(each: "Alias") -> str:
    return "\n".join(each.match)


def _lacking(each: "Alias") -> str:
    from os.path import exists

    packages = dict.fromkeys(each.lacks(exists).values())
    return f"apt install {' '.join(packages)}" if packages else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in header:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
