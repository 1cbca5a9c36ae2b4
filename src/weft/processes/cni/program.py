"""The plugin's program for this node: Python by the node's own interpreter, or the one that needs nothing."""

from dataclasses import dataclass
from pathlib import Path

from weft.adapters import host_python
from weft.cni_plugin import PYTHON, SELF_CONTAINED


class NoProgramError(Exception):
    """Nothing can be installed on this node; the message says why and the way out."""


@dataclass(frozen=True, slots=True)
class Program:
    """Its bytes, and what it is, for people."""

    content: bytes
    about: str


def choose(wanted: str, root: Path) -> Program:
    """By `wanted` (auto, python, self-contained) and what the node has, whose root is seen at `root`."""
    python = host_python.find(root) if wanted != "self-contained" else "it is not wanted"
    if isinstance(python, host_python.Python):
        _, _, body = PYTHON.read_bytes().partition(b"\n")
        # isolated and without site-packages, so that nothing of a user's is loaded, and nothing that takes time
        return Program(b"#!" + python.path.encode() + b" -ISE\n" + body, f"the node's {python}")
    if wanted == "python":
        raise NoProgramError(
            f"the node's Python will not do: {python}. Install one, or set CNI_PLUGIN_PROGRAM=self-contained."
        )
    try:
        content = SELF_CONTAINED.read_bytes()
    except FileNotFoundError:
        raise NoProgramError(
            f"the node's Python will not do ({python}), and this image has no {SELF_CONTAINED}. "
            "Install Python 3.8 or newer on the node."
        ) from None
    return Program(content, f"the self-contained program (as to the node's Python: {python})")
