"""Flags of node processes, each of which can be given as a variable, too: in a pod they come by a ConfigMap."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weft.adapters.kube.access import Access
from weft.base.flags import is_true

LEVELS: Final = ("debug", "info", "warn", "error", "fatal", "none")
"""Levels of logs as Istio names them, the most talkative first."""

_NO: Final = frozenset({"0", "f", "F", "FALSE", "false", "False", ""})


class SettingsError(Exception):
    """What the node process was told cannot be used; the message says what and the way out."""


@dataclass(frozen=True, slots=True)
class Api:
    """Where the API server is: a kubeconfig, or what every pod is told."""

    kubeconfig: Path | None
    host: str
    port: str

    def access(self) -> Access:
        """Read anew each time: the authority may change. AccessError or OSError where it cannot be read."""
        return (
            Access.from_kubeconfig(self.kubeconfig) if self.kubeconfig else Access.in_cluster(self.host, self.port)
        )


def add(
    parser: argparse.ArgumentParser,
    flags: Mapping[str, tuple[str | bool | int, str]],
    environment: Mapping[str, str],
) -> None:
    """Let a parser know flags: by their names, what they usually are, and what they are for."""
    for name, (usual, text) in flags.items():
        given = environment.get(variable(name), str(usual).lower() if isinstance(usual, bool) else str(usual))
        parser.add_argument(f"--{name}", default=given, metavar="VALUE", help=f"{text} ({usual!r})")
    parser.add_argument("--kubeconfig", type=Path, help="inside a pod, its service account is used instead")


def attribute(name: str) -> str:
    """What argparse calls a flag."""
    return name.replace("-", "_")


def variable(name: str) -> str:
    """The variable that a flag may be given by."""
    return attribute(name).upper()


def switch(name: str, written: str) -> bool:
    """Yes or no."""
    if is_true(written):
        return True
    if written in _NO:
        return False
    raise SettingsError(f"{variable(name)}: {written!r} is neither yes nor no. Write true or false.")


def number(name: str, written: str) -> int:
    """A number that a port may be."""
    if not (written.isascii() and written.isdigit() and int(written) < 1 << 16):
        raise SettingsError(f"{variable(name)}: {written!r} is no number below 65536.")
    return int(written)


def level(written: str) -> str:
    """A level of logs."""
    if written not in LEVELS:
        raise SettingsError(f"level of logs {written!r} is none of {', '.join(LEVELS)}.")
    return written


def api(kubeconfig: Path | None, environment: Mapping[str, str], *, needed: bool) -> Api:
    """Where the API server is, by a flag or by what a pod is told."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    if needed and kubeconfig is None and not host:
        raise SettingsError("Not in a pod: give the cluster with --kubeconfig FILE.")
    return Api(kubeconfig, host, environment.get("KUBERNETES_SERVICE_PORT", "443"))
