"""A pod's volumes on disk: made, updated all at once, and removed without a trace."""

import ctypes
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from weft.cluster.kubelet import quantity
from weft.cluster.kubelet.objects import ConfigError
from weft.cluster.kubelet.volumes import Content, Host, Scratch, Tree, Volume

_DATA = "..data"
_LIBC = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2


def place(folder: Path, volume: Volume) -> Path:
    """Make or update a volume under `folder`; where it lies. ConfigError where a hostPath is not as it says."""
    path = folder / volume.name
    match volume:
        case Scratch(_, memory, size):
            if not path.exists():
                path.mkdir(parents=True)
                path.chmod(0o777)
            if memory and not path.is_mount():
                _mount_tmpfs(path, size)
            return path
        case Tree(_, files):
            path.mkdir(parents=True, exist_ok=True)
            write_tree(path, files)
            return path
        case Host(name, target, kind):
            return _host(name, Path(target), kind)


def write_tree(path: Path, files: Mapping[str, Content]) -> bool:
    """Make the files of a volume exactly these, all at once; whether anything changed.

    The layout is Kubernetes's own (atomic writer): `..data` is a link to the folder of the present version, the
    names in the volume are links through it, and an update is one rename of `..data`.
    """
    data = path / _DATA
    if data.is_symlink() and _read(path / data.readlink()) == dict(files):
        return False
    version = Path(tempfile.mkdtemp(prefix="..", dir=path))
    version.chmod(0o755)
    for name, content in files.items():
        file = version / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.data)
        file.chmod(content.mode)
    old = path / data.readlink() if data.is_symlink() else None
    fresh = path / "..data_tmp"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version.name)
    fresh.replace(data)
    tops = {PurePosixPath(name).parts[0] for name in files}
    for top in tops:
        link = path / top
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{top}")
    for entry in path.iterdir():
        if entry.is_symlink() and entry.name != _DATA and entry.name not in tops:
            entry.unlink()
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return True


def within(path: Path, sub_path: str) -> Path:
    """The file or folder of a volume that a `subPath` names; a missing one becomes a folder, as in Kubernetes."""
    if not sub_path:
        return path
    if sub_path.startswith("/") or ".." in PurePosixPath(sub_path).parts:
        raise ConfigError(f"subPath {sub_path} must stay inside the volume")
    real = (path / sub_path).resolve()
    if not real.is_relative_to(path.resolve()):
        raise ConfigError(f"subPath {sub_path} leads outside the volume")
    if not real.exists():
        real.mkdir(parents=True)
        real.chmod(0o777)
    return real


def remove(folder: Path) -> None:
    """Unmount what is mounted below `folder` and remove it; nothing there is no error."""
    below = f"{folder}/"
    for mount_point in reversed(_mount_points()):
        if mount_point.startswith(below):
            _LIBC.umount2(os.fsencode(mount_point), _MNT_DETACH)
    shutil.rmtree(folder, ignore_errors=True)


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return [line.split(" ")[1].replace("\\040", " ") for line in lines]


def _mount_tmpfs(path: Path, size: str) -> None:
    options = "mode=0777" + (f",size={int(quantity.parse(size))}" if size else "")
    if _LIBC.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, options.encode()) != 0:
        code = ctypes.get_errno()
        raise ConfigError(f"mounting a tmpfs at {path}: {os.strerror(code)}")


def _read(version: Path) -> dict[str, Content]:
    found = {}
    for folder, _, names in os.walk(version):
        for name in names:
            file = Path(folder) / name
            mode = stat.S_IMODE(file.stat().st_mode)
            found[str(file.relative_to(version))] = Content(file.read_bytes(), mode)
    return found


def _host(name: str, path: Path, kind: str) -> Path:
    match kind:
        case "DirectoryOrCreate":
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        case "FileOrCreate":
            path.touch(mode=0o644)
        case "" if not path.exists():
            path.mkdir(mode=0o755, parents=True)
        case _:
            pass
    checks = {
        "Directory": path.is_dir,
        "DirectoryOrCreate": path.is_dir,
        "File": path.is_file,
        "FileOrCreate": path.is_file,
        "Socket": path.is_socket,
        "CharDevice": path.is_char_device,
        "BlockDevice": path.is_block_device,
    }
    if kind in checks and not checks[kind]():
        raise ConfigError(
            f'MountVolume.SetUp failed for volume "{name}" : hostPath type check failed: '
            f"{path} is not a {kind.removesuffix('OrCreate')}"
        )
    return path
