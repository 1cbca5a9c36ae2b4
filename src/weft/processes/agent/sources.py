"""Where the pod's certificate comes from: files, somebody else's SDS, or the mesh's authority."""

import os
from dataclasses import dataclass
from pathlib import Path

from weft.processes.agent.identity_settings import Files
from weft.processes.agent.settings import Settings


@dataclass(frozen=True, slots=True)
class Mounted:
    """Files that somebody else keeps fresh."""

    files: Files


@dataclass(frozen=True, slots=True)
class External:
    """A socket that somebody else serves."""

    socket: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """The mesh's own."""


Source = Mounted | External | Authority


def choose(settings: Settings) -> Source:
    """The source for a pod as it is now; it stays so for as long as the agent runs."""
    own, paths = settings.identity, settings.paths
    if own.mounted is not None:
        return Mounted(own.mounted)
    if own.expects_socket or _is_somebody_elses(paths.sockets, own.socket_name):
        return External(paths.sockets / own.socket_name)
    for folder in (paths.credentials, paths.certs):
        files = Files.of(folder)
        # on a virtual machine the agent itself may keep its certificate there
        if files.are_there and files != own.shown and folder != own.output:
            return Mounted(files)
    return Authority()


def _is_somebody_elses(folder: Path, socket: str) -> bool:
    """Whether a socket was mounted, or is to come: we serve none there, and what injection mounts is empty.

    That of a driver (`csi.spiffe.io`) is there before its socket is, and nothing can be written to it.
    """
    return (folder / socket).exists() or (folder.is_dir() and not os.access(folder, os.W_OK))
