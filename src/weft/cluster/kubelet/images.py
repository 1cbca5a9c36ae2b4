"""Images on one node: aliases made and brought in, others found or pulled."""

import asyncio
import contextlib
import os
import platform
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.adapters.cri.client import CriError, Runtime
from weft.adapters.cri.ctr import ImportFailedError, import_image
from weft.adapters.cri.types import Login
from weft.cluster.kubelet import aliases, image_names
from weft.cluster.kubelet.aliases import Alias, Busybox, Installation
from weft.cluster.kubelet.runtime_config import PAUSE_IMAGE

_BUSYBOX = Path("/usr/bin/busybox")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LEARN = 5.0  # seconds: CRI hears of an imported image long before


class ImageError(Exception):
    """An image cannot be had. `reason` is the waiting container's (`ErrImagePull`, `ErrImageNeverPull`)."""

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.reason, self.message, self.hint = reason, message, hint


@dataclass(frozen=True, slots=True)
class Got:
    """An image to run: what containerd calls it, the user it names, and what to tell in the pod's events."""

    name: str
    user: str
    told: str
    alias: Alias | None = None


class Images:
    """The images of one containerd. `users_file` is the user's own images.yaml, which need not exist."""

    def __init__(self, runtime: Runtime, socket: Path, users_file: Path, clock: Callable[[], float]) -> None:
        self._runtime, self._socket, self._users_file, self._clock = runtime, socket, users_file, clock
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._builtin = builtin()
        self._users: tuple[float, tuple[Alias, ...]] = (0.0, ())
        self._weft = installation()

    async def bring_pause(self) -> None:
        """Make sure of the image of sandboxes. Raises ImageError with the way out."""
        if await self._runtime.image(PAUSE_IMAGE) is None:
            tar = aliases.pause_image(PAUSE_IMAGE, _busybox_binary(), architecture())
            await self._import(PAUSE_IMAGE, tar)

    async def ensure(
        self, name: str, policy: str, pulling: Callable[[], None], logins: Sequence[Login] = ()
    ) -> Got:
        """The image of a container; ImageError where there is none. `pulling` is called before a pull.

        `logins` are shown to the registry, one after the other. Policy as imagePullPolicy; an alias serves
        whatever the policy, for there is nothing newer to pull.
        """
        async with self._locks[name]:
            alias, own = self._alias(name)
            found = None if own else await self._runtime.image(name)
            if found is not None and (policy != "Always" or alias is not None):
                # an image that was brought here is what is meant, and not what weft takes its name to stand for
                return Got(name, found.user, f'Container image "{name}" already present on machine')
            if alias is not None:
                return await self._aliased(name, self._usable(name, alias))
            if policy == "Never":
                message = f'Container image "{name}" is not present with pull policy of Never'
                raise ImageError("ErrImageNeverPull", message)
            pulling()
            return await self._pulled(name, logins)

    async def prepare(self, names: Iterable[str]) -> None:
        """Make the images of those names that are aliases, ahead of their use. What fails now fails again then."""
        for name in names:
            with contextlib.suppress(ImageError, CriError):
                alias, _ = self._alias(name)
                if alias is not None:
                    async with self._locks[name]:
                        await self._aliased(name, self._usable(name, alias))

    async def collect(self, used: Collection[str]) -> None:
        """Remove the images that no pod uses (names or ids in `used`).

        Those of sandboxes and aliases stay: they are of no size, and somebody may just be about to use one.
        """
        wanted = {image_names.shown(name) for name in used} | {image_names.shown(PAUSE_IMAGE)}
        for image in await self._runtime.images():
            names = {image_names.shown(name) for name in (*image.tags, *image.digests)}
            kept = image.pinned or image.id in used or any(name.startswith(aliases.OWN) for name in names)
            if not kept and not names & wanted:
                await self._runtime.remove_image(image.id)

    def _alias(self, name: str) -> tuple[Alias | None, bool]:
        """The alias of a name, and whether it is the user's own."""
        try:
            chosen = aliases.find(name, self._own())
        except aliases.AliasError as error:
            raise ImageError("ErrImagePull", str(error)) from error
        if chosen is not None:
            return chosen, True
        return aliases.find(name, self._builtin), False

    def _usable(self, name: str, chosen: Alias) -> Alias:
        if lacking := chosen.lacks(os.path.exists):
            path, package = next(iter(lacking.items()))
            message = f'image "{name}" is an alias for {chosen.about}, but the machine has no {path}'
            raise ImageError("ErrImagePull", message, f"Install it: apt install {package}.")
        return aliases.resolved(chosen, self._weft)

    def _own(self) -> Sequence[Alias]:
        # read again whenever the file has changed: no restart is needed to add an alias
        if not self._users_file.exists():
            return ()
        changed = self._users_file.stat().st_mtime
        if changed != self._users[0]:
            text = self._users_file.read_text(encoding="utf-8")
            self._users = (changed, aliases.parse(text, str(self._users_file), self._builtin))
        return self._users[1]

    async def _aliased(self, name: str, alias: Alias) -> Got:
        called = aliases.image_name(alias)
        if await self._runtime.image(called) is None:
            busybox = await _busybox() if alias.applets else None
            await self._import(called, aliases.image(alias, architecture(), busybox))
        told = f'Container image "{name}" is an alias for {alias.about}'
        return Got(called, alias.user, told, alias)

    async def _pulled(self, name: str, logins: Sequence[Login]) -> Got:
        begun = self._clock()
        try:
            *others, last = logins or (None,)
            for login in others:
                with contextlib.suppress(CriError):
                    await self._runtime.pull(name, login)
                    break
            else:
                await self._runtime.pull(name, last)
        except CriError as error:
            message = f'Failed to pull image "{name}": {error.message}'
            hint = f"To run it from this machine's own programs, give it an alias in {self._users_file}."
            raise ImageError("ErrImagePull", message, hint) from error
        found = await self._runtime.image(name)
        took = _duration(self._clock() - begun)
        told = f'Successfully pulled image "{name}" in {took} ({took} including waiting).'
        size = f" Image size: {found.size} bytes." if found else ""
        return Got(name, found.user if found else "", told + size)

    async def _import(self, name: str, tar: bytes) -> None:
        try:
            await import_image(self._socket, tar)
            async with asyncio.timeout(_LEARN):
                while await self._runtime.image(name) is None:
                    await asyncio.sleep(0.01)
        except (ImportFailedError, TimeoutError, OSError) as error:
            raise ImageError("ErrImagePull", f"bringing {name} into containerd: {error or 'timed out'}") from error


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def builtin() -> tuple[Alias, ...]:
    """Weft's own aliases."""
    file = Path(__file__).parent / "images.yaml"
    return aliases.parse(file.read_text(encoding="utf-8"), "weft's images.yaml")


def architecture() -> str:
    """This machine's architecture, as images name it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def installation() -> Installation:
    """Where Weft is installed: the environment, the interpreter it was made from, and the package."""
    package = Path(__file__).resolve().parents[3]
    # a virtual environment's python is a link: what it leads to must be there too
    interpreter = Path(sys.executable).resolve().parent.parent
    wanted = [Path(sys.prefix), Path(sys.base_prefix), interpreter, package]
    usr = Path("/usr")
    folders: list[str] = []
    for folder in wanted:
        inside = [usr, *(Path(each) for each in folders)]
        if not any(folder.is_relative_to(each) for each in inside):
            folders.append(str(folder))
    return Installation(tuple(folders), sys.executable)


async def _busybox() -> Busybox:
    process = await asyncio.create_subprocess_exec(str(_BUSYBOX), "--list", stdout=asyncio.subprocess.PIPE)
    listed, _ = await process.communicate()
    return Busybox(_busybox_binary(), tuple(listed.decode().split()))


def _busybox_binary() -> bytes:
    try:
        return _BUSYBOX.read_bytes()
    except FileNotFoundError as error:
        raise ImageError("ErrImagePull", f"{_BUSYBOX}: no such file.", "Install busybox-static.") from error
