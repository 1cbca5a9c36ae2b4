"""What commands about the machine's cluster have in common: the home, and how errors end."""

import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

Home = Annotated[
    Path,
    typer.Option(
        "--home", envvar="WEFT_HOME", help="The cluster's folder.", show_default="~/.weft", metavar="DIR"
    ),
]

DEFAULT_HOME = Path("~/.weft")


def absolute(home: Path) -> Path:
    """The home as the cluster is named after: absolute, without `..`."""
    return Path(os.path.abspath(home.expanduser()))  # noqa: PTH100 -- resolve() would follow links


def fail(what: str, way_out: str = "", *, code: int = 1) -> NoReturn:
    """Say what is wrong and the next command to type, and exit."""
    say_error(what, way_out)
    raise typer.Exit(code)


def say_error(what: str, way_out: str = "") -> None:
    """One line of what is wrong, red on a terminal, and the way out."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), what, " " if way_out else "", (way_out, "bold")))
