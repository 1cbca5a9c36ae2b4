"""Keeps the plugins installed: their programs, and the configuration by which the node's runtime calls us first.

Others write to the same folders. What they overwrite or delete is made again, ever more slowly while they go on.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weft.adapters import cni_folder
from weft.adapters.cni_folder import ChangedError
from weft.adapters.inotify import Watch
from weft.cni_plugin import UNDERLAY
from weft.install import cni_networks
from weft.install.cni_config import Change, Put, Remove
from weft.install.cni_networks import File, InvalidError
from weft.processes.cni.calls import CallError
from weft.processes.cni.health import Part
from weft.processes.cni.installing import Pace
from weft.processes.cni.program import NoProgramError
from weft.processes.underlay.choosing import Chooser
from weft.processes.underlay.plugins import TYPES, Json
from weft.processes.underlay.settings import Places, Settings
from weft.underlay.networks import meta_config

_LOOK: Final = 5.0
"""Seconds between looks, where nothing tells of a change."""
_MOST: Final = 100

log = logging.getLogger("weft.underlay.install")


@dataclass(frozen=True, slots=True)
class _Needed:
    """What is to be done: programs to copy, and changes of configurations. `waiting` says why it is no use."""

    programs: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    waiting: str = ""


class Installer:
    """Give `run` a task. `part` is ready while the plugins are installed, and runtimes call them."""

    def __init__(self, settings: Settings, chooser: Chooser, part: Part) -> None:
        self._settings, self._chooser, self._part = settings, chooser, part
        self._program = File(b"", 0o755)
        self._pace, self._told = Pace(), ""

    async def run(self) -> None:
        """Install, and install again, for ever. NoProgramError where there is nothing to be installed."""
        try:
            self._program = File(UNDERLAY.read_bytes(), 0o755)
        except FileNotFoundError:
            raise NoProgramError(f"this image has no {UNDERLAY}, which `make` builds") from None
        folders = (self._settings.places.mounted_net_dir, self._settings.places.mounted_bin_dir)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        with Watch(folders) as watch:
            while True:
                await self._round()
                await watch.changed(_LOOK)

    async def _round(self) -> None:
        """Look, and do what is needed until nothing is."""
        for _ in range(_MOST):
            needed = await self._look()
            if not needed.programs and not needed.changes:
                break
            self._part.waits("the plugins are being installed")
            await asyncio.sleep(self._pace.next(time.monotonic()))
            try:
                await asyncio.to_thread(self._do, needed)
            except ChangedError:
                continue
            except OSError as error:
                self._waits(f"{error}. Is the folder mounted, with room, and may we write to it?")
                return
        if needed.waiting:
            self._waits(needed.waiting)
            return
        installed = _own_name(_networks(await asyncio.to_thread(self._listing)), self._settings)
        self._part.ready(f"{', '.join(TYPES)}{f', in {installed}' if installed else ''}")
        self._tell(f"installed: {', '.join(TYPES)}; in {installed or 'no configuration'}")

    async def _look(self) -> _Needed:
        """What is other than it should be."""
        programs = await asyncio.to_thread(self._lacking)
        if not self._settings.multus.install:
            return _Needed(programs)
        try:
            listing = await asyncio.to_thread(self._listing)
            first = await self._chooser.first(_networks(listing))
        except CallError as error:
            return _Needed(programs, waiting=f"{error.msg} {error.details}".strip())
        except OSError as error:
            return _Needed(programs, waiting=f"the node's networks cannot be read: {error}")
        places = self._settings.places
        wanted = meta_config.entry(first, places.run_dir, places.cache_dir)
        changes = plan(listing, wanted, self._settings.multus.conf_name)
        before = "" if changes else meta_config.before_us(_networks(listing), self._settings.multus.conf_name)
        waiting = f"{before} comes before us, so that runtimes take it. Set MULTUS_CONF_NAME to a name before it."
        return _Needed(programs, changes, waiting if before else "")

    def _lacking(self) -> tuple[str, ...]:
        folder = self._settings.places.mounted_bin_dir
        return tuple(each for each in TYPES if not _is(folder / each, self._program))

    def _listing(self) -> dict[str, File]:
        return cni_folder.listing(self._settings.places.mounted_net_dir, self._settings.places.root)

    def _do(self, needed: _Needed) -> None:
        """Do it: programs first and the configuration last, so that nobody is sent to what is not there."""
        places = self._settings.places
        for each in needed.programs:
            cni_folder.write(places.mounted_bin_dir / each, self._program.content, self._program.mode)
        cni_folder.apply(places.mounted_net_dir, places.root, needed.changes)

    def _waits(self, why: str) -> None:
        self._part.waits(why)
        self._tell(f"not installed: {why}")

    def _tell(self, state: str) -> None:
        """Log what is new."""
        if state != self._told:
            log.info("%s", state)
        self._told = state


def plan(listing: dict[str, File], wanted: Json, conf_name: str) -> tuple[Change, ...]:
    """What to change so that our entry is there, once."""
    found = meta_config.own(_networks(listing), conf_name)
    if found is None or found[0] == conf_name:
        file = File(cni_networks.text(wanted))
        before = listing.get(conf_name)
        return () if before == file else (Put(conf_name, file, before),)
    name, listed = found
    made = meta_config.joined(listed, wanted)
    return () if made is None else (Put(name, File(cni_networks.text(made), listing[name].mode), listing[name]),)


def uninstall(settings: Settings) -> Sequence[str]:
    """Take away what is ours, the configuration first; what was done, a line each. OSError where it cannot be.

    What others have put after us in a list goes with us: without a network it is none.
    """
    places, done = settings.places, list[str]()
    for _ in range(_MOST):
        listing = cni_folder.listing(places.mounted_net_dir, places.root)
        name = _own_name(_networks(listing), settings)
        if not name:
            break
        with contextlib.suppress(ChangedError):
            cni_folder.apply(places.mounted_net_dir, places.root, [Remove(name, listing[name])])
            done.append(f"{name}: taken away")
    _remove_programs(places, done)
    return done


def _remove_programs(places: Places, done: list[str]) -> None:
    for path in (places.mounted_bin_dir / each for each in TYPES):
        if path.exists():
            path.unlink()
            done.append(f"{path.name}: taken away")


def _own_name(networks: Sequence[tuple[str, Json]], settings: Settings) -> str:
    found = meta_config.own(networks, settings.multus.conf_name)
    return found[0] if found else ""


def _networks(listing: dict[str, File]) -> list[tuple[str, Json]]:
    return [(name, one) for name, one in cni_networks.networks(listing) if not isinstance(one, InvalidError)]


def _is(path: Path, file: File) -> bool:
    """Whether a file is so."""
    try:
        return (
            not path.is_symlink()
            and path.stat().st_mode & 0o7777 == file.mode
            and path.read_bytes() == file.content
        )
    except OSError:
        return False
