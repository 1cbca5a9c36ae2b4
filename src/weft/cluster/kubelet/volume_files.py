"""A pod's volumes on disk: made, updated all at once, and removed without a trace."""

import ctypes
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from weft.cluster.kubelet import quantity
from weft.cluster.kubelet.objects import ConfigError
from weft.cluster.kubelet.volumes import Content, Host, Scratch, Tree, Volume

_DATA = "..data"
_GROUP_FOLDER, _GROUP_FILE, _GROUP_READS = 0o2770, 0o660, 0o440
_LIBC = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2


def place(folder: Path, volume: Volume, group: int | None = None, *, unless_root: bool = False) -> Path:
    """Make or update a volume under `folder`; where it lies. ConfigError where a hostPath is not as it says.

    `group` is the pod's fsGroup, to which its own volumes belong; with `unless_root` one whose root is the group's
    already is left alone (fsGroupChangePolicy: OnRootMismatch).
    """
    path = folder / volume.name
    match volume:
        case Scratch(_, memory, size):
            if not path.exists():
                path.mkdir(parents=True)
                path.chmod(0o777)
            if memory and not path.is_mount():
                _mount_tmpfs(path, size)
            if group is not None and path.stat().st_gid != group:
                give(path, group)
            return path
        case Tree(_, files):
            if not path.exists():
                path.mkdir(parents=True)
                path.chmod(0o777)
                if group is not None:
                    os.chown(path, -1, group)
                    path.chmod(0o2777)
            write_tree(path, files, group)
            return path
        case Host(name, target, kind, grouped):
            place_ = _host(name, Path(target), kind)
            if grouped and group is not None and not (unless_root and _belongs(place_, group)):
                give(place_, group)
            return place_


def _belongs(path: Path, group: int) -> bool:
    found = path.stat()
    return found.st_gid == group and stat.S_IMODE(found.st_mode) & _GROUP_FOLDER == _GROUP_FOLDER


def give(path: Path, group: int) -> None:
    """Let a group read and write all below a folder, and own what is made there (fsGroup)."""
    for folder, _, names in os.walk(path):
        os.chown(folder, -1, group)
        Path(folder).chmod(stat.S_IMODE(Path(folder).stat().st_mode) | _GROUP_FOLDER)
        for file in (Path(folder) / name for name in names):
            os.chown(file, -1, group, follow_symlinks=False)
            if not file.is_symlink():
                file.chmod(stat.S_IMODE(file.stat().st_mode) | _GROUP_FILE)


def write_tree(path: Path, files: Mapping[str, Content], group: int | None = None) -> bool:
    """Make the files of a volume exactly these, all at once; whether anything changed. `group` may read them.

    The layout is Kubernetes's own (atomic writer): `..data` is a link to the folder of the present version, the
    names in the volume are links through it, and an update is one rename of `..data`.
    """
    if group is not None:
        files = {name: replace(each, mode=each.mode | _GROUP_READS) for name, each in files.items()}
    data = path / _DATA
    if data.is_symlink() and _read(path / data.readlink()) == dict(files):
        return False
    version = _write_version(path, files, group)
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


def _write_version(path: Path, files: Mapping[str, Content], group: int | None) -> Path:
    version = Path(tempfile.mkdtemp(prefix="..", dir=path))
    version.chmod(0o755)
    for name, content in files.items():
        file = version / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.data)
        file.chmod(content.mode)
    if group is not None:
        for each in (version, *version.rglob("*")):
            os.chown(each, -1, group)
    return version


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
        case "DirectoryOrCreate" | "" if not path.exists():
            path.mkdir(mode=0o755, parents=True)
        case "FileOrCreate" if not path.exists():
            if not path.parent.is_dir():
                raise _not_mounted(name, f"open {path}: no such file or directory")
            path.touch(mode=0o644)
        case _:
            pass
    checks = {
        "Directory": (path.is_dir, "directory"),
        "DirectoryOrCreate": (path.is_dir, "directory"),
        "File": (path.is_file, "file"),
        "FileOrCreate": (path.is_file, "file"),
        "Socket": (path.is_socket, "socket file"),
        "CharDevice": (path.is_char_device, "character device"),
        "BlockDevice": (path.is_block_device, "block device"),
    }
    holds, what = checks.get(kind, (path.exists, "path"))
    if not holds():
        raise _not_mounted(name, f"hostPath type check failed: {path} is not a {what}")
    return path


def _not_mounted(name: str, why: str) -> ConfigError:
    return ConfigError(f'MountVolume.SetUp failed for volume "{name}" : {why}')
