"""Container images made by hand: one layer, one configuration, as a tar that containerd imports.

OCI image specification: image layout, manifest, configuration.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_SAVE = "Make one: docker save -o FILE NAME:TAG"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
# one fixed moment, so that equal files make equal images: when the stock nginx page of the 1.25.3 image was made
MTIME = 0x6537CAC7


class ArchiveError(Exception):
    """A file that no image can be taken from; the message names the file and the way out."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A folder of a layer."""

    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link of a layer."""

    target: str


@dataclass(frozen=True, slots=True)
class File:
    """A file of a layer."""

    content: bytes
    mode: int = 0o644


Entry: TypeAlias = Directory | Link | File


@dataclass(frozen=True, slots=True)
class Config:
    """What an image says about running it."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Sequence[str] = ()
    user: str = ""
    working_dir: str = "/"
    stop_signal: str = ""


def image(name: str, entries: Mapping[str, Entry], config: Config, architecture: str) -> bytes:
    """An OCI layout, tarred, with one image called `name`. Paths of `entries` are relative to the root.

    Folders that the paths need are made; `architecture` as Go names it (amd64, arm64).
    """
    layer = _tar(entries)
    platform = {"architecture": architecture, "os": "linux"}
    settings = _json(
        {
            **platform,
            "config": {
                "Entrypoint": list(config.entrypoint) or None,
                "Cmd": list(config.command) or None,
                "Env": list(config.env),
                "User": config.user,
                "WorkingDir": config.working_dir,
                "StopSignal": config.stop_signal,
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created_by": "weft"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, settings),
            "layers": [_descriptor(_LAYER, layer)],
        }
    )
    named = _descriptor(_MANIFEST, manifest) | {
        "annotations": {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rsplit(":", maxsplit=1)[-1],
        },
        "platform": platform,
    }
    files: dict[str, Entry] = {
        "oci-layout": File(_json({"imageLayoutVersion": "1.0.0"})),
        "index.json": File(_json({"schemaVersion": 2, "manifests": [named]})),
    }
    for blob in (layer, settings, manifest):
        files["blobs/sha256/" + _digest(blob).removeprefix("sha256:")] = File(blob)
    return _tar(files)


def names(archive: Path) -> tuple[str, ...]:
    """What the images of an archive are called (`docker save`, an OCI layout); ArchiveError where it is none."""
    try:
        with tarfile.open(archive) as tar:
            manifest, index = _member(tar, "manifest.json"), _member(tar, "index.json")
    except OSError as error:
        raise ArchiveError(f"{archive}: {error.strerror or error}.") from error
    except (tarfile.TarError, ValueError):
        manifest = index = None
    if manifest is None and index is None:
        raise ArchiveError(f"{archive}: not an image archive. {_SAVE}")
    found = [tag for each in manifest or () for tag in each.get("RepoTags") or ()]
    annotations = [each.get("annotations") or {} for each in (index or {}).get("manifests") or ()]
    found += [each.get("io.containerd.image.name") or "" for each in annotations]
    named = tuple(dict.fromkeys(name.removeprefix("docker.io/library/") for name in found if name))
    if not named:
        raise ArchiveError(f"{archive}: its images have no names. {_SAVE}")
    return named


def _member(tar: tarfile.TarFile, name: str) -> Any:
    try:
        file = tar.extractfile(name)
    except KeyError:
        return None
    return json.load(file) if file is not None else None


def _tar(entries: Mapping[str, Entry]) -> bytes:
    everything: dict[str, Entry] = {}
    for path, entry in entries.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            everything.setdefault("/".join(parts[:depth]), Directory())
        everything[path] = entry
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(everything):
            _add(tar, path, everything[path])
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, path: str, entry: Entry) -> None:
    info = tarfile.TarInfo(path)
    info.mtime = MTIME
    match entry:
        case Directory(mode):
            info.type, info.mode = tarfile.DIRTYPE, mode
            tar.addfile(info)
        case Link(target):
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(info)
        case File(content, mode):
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
