"""Keeps the plugin installed: its program, its kubeconfig, and its place in the node's network configuration.

Others write to the same folders. What they overwrite or delete is made again at once the first time, and ever more
slowly while they go on, so that two installers do not chase each other; the last word is ours.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from weft.adapters import cni_folder
from weft.adapters.cni_folder import ChangedError
from weft.adapters.inotify import Watch
from weft.adapters.kube.access import AccessError
from weft.install import cni_config, cni_kubeconfig
from weft.install.cni_config import Choice, How, Plan
from weft.install.cni_networks import TYPE
from weft.processes.cni import program
from weft.processes.cni.health import Part
from weft.processes.cni.metrics import Registry
from weft.processes.cni.settings import Places, Settings

log = logging.getLogger("weft.cni.install")

_BEGUN: Final = "the plugin is being installed"
_LOOK: Final = 5.0
"""Seconds between looks, where nothing tells of a change: of the token, of the node's Python."""
_SETTLED: Final = 0.03
"""Seconds in which a folder must not change: others write a file in several steps."""
_MOST_SETTLING: Final = 10
_CALM: Final = 10.0
"""Seconds without work after which the next is done at once."""
_FIRST_DELAY, _LAST_DELAY = 0.05, 2.0


@dataclass(slots=True)
class Pace:
    """How long to wait before the next installation, in seconds; `last` is a reading of a monotonic clock."""

    last: float = float("-inf")
    delay: float = 0.0

    def next(self, now: float) -> float:
        """Nothing after calm; else twice as long as before."""
        calm = now - self.last > _CALM
        self.delay = 0.0 if calm else min(_LAST_DELAY, max(_FIRST_DELAY, 2 * self.delay))
        self.last = now
        return self.delay


@dataclass(frozen=True, slots=True)
class _Needed:
    """What is to be done. `failed` is why it cannot be, with Istio's name of that outcome."""

    plan: Plan = field(default_factory=Plan)
    copy: program.Program | None = None
    kubeconfig: str = ""
    about: str = ""
    failed: tuple[str, str] | None = None

    @property
    def nothing(self) -> bool:
        return not (self.plan.changes or self.copy or self.kubeconfig or self.failed)


def choice(settings: Settings) -> Choice:
    """Where our plugin is put, and its configuration."""
    plugin, places = settings.plugin, settings.places
    entry: dict[str, Any] = {
        "name": TYPE,
        "type": TYPE,
        "plugin_log_level": plugin.level,
        "kubeconfig": f"{places.net_dir.rstrip('/')}/{plugin.kubeconfig_name}",
        "cni_agent_run_dir": places.run_dir,
        "exclude_namespaces": sorted(settings.excluded),
        "pod_namespace": settings.namespace,
        "native_nftables": settings.native,
    }
    how = How.STANDALONE if not plugin.chained else How.OWN if plugin.own else How.CHAINED
    return Choice(entry, how, plugin.conf_name, plugin.own_name)


class Installer:
    """Give `run` a task. `part` is ready while the plugin is installed, and runtimes take it."""

    def __init__(self, settings: Settings, part: Part, registry: Registry) -> None:
        self._settings, self._part, self._choice = settings, part, choice(settings)
        self._places, self._links = settings.places, _links(settings.places)
        self._installs = registry.counter(
            "istio_cni_installs_total", "Installations of the plugin, by what came of them.", "result"
        )
        self._ready = registry.gauge("istio_cni_install_ready", "Whether the plugin is installed.")
        self._told: set[str] = set()
        self._pace = Pace()
        self._begun = _BEGUN

    async def run(self) -> None:
        """Install, and install again, for ever."""
        folders = (self._places.mounted_net_dir, self._places.mounted_bin_dir)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with Watch(folders) as watch:
                while True:
                    await self._round()
                    await watch.changed(_LOOK)
        finally:
            self._ready.value = 0

    async def _round(self) -> None:
        """Look, and do what is needed until nothing is."""
        needed = await asyncio.to_thread(self._look)
        while not needed.nothing:
            self._waits(needed.failed[1] if needed.failed else self._begun)
            await asyncio.sleep(self._pace.next(time.monotonic()))
            needed = await self._settled()
            if needed.nothing:
                break
            result, why = await asyncio.to_thread(self._do, needed)
            if result:
                self._installs.add(result)
            if why:
                # what failed is said until it is mended: our own try wakes the watch, and so the next one
                self._begun = why
                self._waits(why)
                return
            self._begun = _BEGUN
            needed = await asyncio.to_thread(self._look)
        if needed.plan.waiting:
            self._waits(needed.plan.waiting, needed.plan.notes)
            return
        self._ready.value = 1
        self._part.ready(f"{needed.plan.joined}, {needed.about}")
        self._tell(f"installed: in {needed.plan.joined}; the program is {needed.about}", needed.plan.notes)

    async def _settled(self) -> _Needed:
        """What is needed once nobody is writing, or after a while."""
        needed = await asyncio.to_thread(self._look)
        for _ in range(_MOST_SETTLING):
            await asyncio.sleep(_SETTLED)
            again = await asyncio.to_thread(self._look)
            if again == needed:
                break
            needed = again
        return needed

    def _waits(self, why: str, notes: Sequence[str] = ()) -> None:
        self._ready.value = 0
        self._part.waits(" ".join((why, *notes)))
        self._tell(f"not installed: {why}", notes)

    def _tell(self, state: str, notes: Sequence[str] = ()) -> None:
        """Log what is new."""
        if state not in self._told:
            log.info("%s", state)
        for note in notes:
            if note not in self._told:
                log.warning("%s", note)
        self._told = {state, *notes}

    def _look(self) -> _Needed:
        """What is other than it should be."""
        try:
            wanted = program.choose(self._settings.plugin.program, self._places.root)
        except (program.NoProgramError, OSError) as error:
            return _Needed(failed=("COPY_BINARIES_FAILURE", str(error)))
        try:
            config = _kubeconfig(self._settings)
        except (AccessError, OSError) as error:
            return _Needed(failed=("READ_SERVICE_ACCOUNT_FAILURE", f"our credentials cannot be read: {error}"))
        try:
            listing = cni_folder.listing(self._places.mounted_net_dir, self._links)
        except OSError as error:
            return _Needed(
                failed=("CREATE_CNI_CONFIG_FAILURE", f"the network configuration cannot be read: {error}")
            )
        return _Needed(
            cni_config.plan(listing, self._choice),
            None if _is(self._program_path, wanted.content, 0o755) else wanted,
            "" if _is(self._kubeconfig_path, config.encode(), 0o600) else config,
            wanted.about,
        )

    def _do(self, needed: _Needed) -> tuple[str, str]:
        """Do it: the program first and the configuration last, so that nobody is sent to what is not there."""
        if needed.failed:
            return needed.failed
        result = "COPY_BINARIES_FAILURE"
        try:
            if needed.copy:
                cni_folder.write(self._program_path, needed.copy.content, 0o755)
            result = "CREATE_KUBECONFIG_FAILURE"
            if needed.kubeconfig:
                cni_folder.write(self._kubeconfig_path, needed.kubeconfig.encode(), 0o600)
            result = "CREATE_CNI_CONFIG_FAILURE"
            cni_folder.apply(self._places.mounted_net_dir, self._links, needed.plan.changes)
        except ChangedError:
            return "", ""  # look again
        except OSError as error:
            return result, f"{error}. Is the folder mounted, with room, and may we write to it?"
        return "SUCCESS", ""

    @property
    def _program_path(self) -> Path:
        return self._places.mounted_bin_dir / TYPE

    @property
    def _kubeconfig_path(self) -> Path:
        return self._places.mounted_net_dir / self._settings.plugin.kubeconfig_name


def uninstall(settings: Settings) -> Sequence[str]:
    """Take away what is ours, the configuration first; what was done, a line each. OSError where it cannot be."""
    places, chosen, done = settings.places, choice(settings), list[str]()
    root = _links(places)
    for _ in range(100):
        found = cni_config.removal(cni_folder.listing(places.mounted_net_dir, root), chosen)
        with contextlib.suppress(ChangedError):
            cni_folder.apply(places.mounted_net_dir, root, found.changes)
            done += [f"{change.name}: {_done(change)}" for change in found.changes]
            break
    else:
        raise OSError(f"{places.mounted_net_dir}: others do not stop changing it. Stop them, and try again.")
    for path in (places.mounted_bin_dir / TYPE, places.mounted_net_dir / settings.plugin.kubeconfig_name):
        if path.exists():
            path.unlink()
            done.append(f"{path.name}: taken away")
    return done


def _done(change: cni_config.Change) -> str:
    return "without us" if isinstance(change, cni_config.Put) else "taken away"


def _links(places: Places) -> Path:
    """Where links of the folder lead: all of the root of the node's first process, or as much as is mounted."""
    first = places.proc / "1" / "root"
    return first if os.access(first / "etc", os.R_OK) else places.root


def _kubeconfig(settings: Settings) -> str:
    access = settings.api.access()
    return cni_kubeconfig.kubeconfig(access.server, access.ca, access.bearer())


def _is(path: Path, content: bytes, mode: int) -> bool:
    """Whether a file is so."""
    try:
        return path.read_bytes() == content and path.stat().st_mode & 0o7777 == mode and not path.is_symlink()
    except OSError:
        return False
