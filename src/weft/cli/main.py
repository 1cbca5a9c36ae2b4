"""The app behind `weft`: one module per command, each registered here by name."""

import importlib
import importlib.util

import typer

COMMANDS = tuple(
    f"weft.cli.{name}"
    for name in ("up", "down", "status", "node", "image", "proxy", "underlay", "experimental", "version")
)
"""Modules with a `register(app)`; one that a distribution leaves out is left out of the app."""


def app() -> typer.Typer:
    """The app with all its commands. Modules import what is dear only when their command runs."""
    made = typer.Typer(
        name="weft",
        help="A service mesh with Istio's API, and a small Kubernetes of its own on this machine.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_show_locals=False,
        rich_markup_mode="markdown",  # paragraphs of a docstring flow; otherwise each of their lines is one
    )
    for module in COMMANDS:
        if importlib.util.find_spec(module):
            importlib.import_module(module).register(made)
    return made
