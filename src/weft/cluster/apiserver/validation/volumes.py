"""Volumes of pods, and the sources that persistent volumes have in common with them."""

from collections.abc import Callable
from typing import Any

from weft.cluster.apiserver import names, quantities
from weft.cluster.apiserver.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)
from weft.cluster.apiserver.validation import references
from weft.cluster.apiserver.validation.rules import Found, local_path, mode, no_way_up, only_one, reason

Obj = dict[str, Any]
# in the order in which Kubernetes looks for them
SOURCES = (
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
)
_HOST_PATHS = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_SHORTEST_TOKEN = 600


def volumes(given: Any, path: str) -> tuple[dict[str, Obj], list[FieldError]]:
    """The sound volumes by name, and what is wrong with the others."""
    sound: dict[str, Obj] = {}
    found: list[FieldError] = []
    for index, volume in enumerate(given):
        where, name = f"{path}[{index}]", volume.get("name", "")
        wrong = [*source(volume, where, SOURCES)]
        if not name:
            wrong.append(required(f"{where}.name"))
        else:
            wrong += reason(names.label(name), f"{where}.name", name)
        if name in sound:
            wrong.append(duplicate(f"{where}.name", name))
        if wrong:
            found += wrong
        else:
            sound[name] = volume
    return sound, found


def source(volume: Obj, path: str, kinds: tuple[str, ...]) -> Found:
    """What a volume is made of."""
    for item in only_one(volume, path, kinds, "volume"):
        if isinstance(item, FieldError):
            yield item
        elif item in _CHECKS:
            yield from _CHECKS[item](volume[item], f"{path}.{item}")


def _empty_dir(given: Obj, path: str) -> Found:
    if quantities.parse(given.get("sizeLimit", "0")) < 0:
        yield forbidden_field(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def host_path(given: Obj, path: str) -> Found:
    """A file or directory of the node."""
    if not given.get("path"):
        yield required(f"{path}.path")
        return
    yield from no_way_up(given["path"], f"{path}.path")
    if given.get("type", "") not in _HOST_PATHS:
        yield unsupported(f"{path}.type", given["type"], _HOST_PATHS)


def _needs(*fields: str) -> Callable[[Obj, str], Found]:
    def check(given: Obj, path: str) -> Found:
        for field in fields:
            if not given.get(field):
                yield required(f"{path}.{field}")

    return check


def nfs(given: Obj, path: str) -> Found:
    """A directory of a file server."""
    yield from _needs("server", "path")(given, path)
    if not given.get("path", "").startswith("/"):
        yield invalid_value(f"{path}.path", given.get("path", ""), "must be an absolute path")


def _files(name: str) -> Callable[[Obj, str], Found]:
    def check(given: Obj, path: str) -> Found:
        if not given.get(name):
            yield required(f"{path}.{name}")
        yield from mode(given, path)
        for index, item in enumerate(given.get("items") or ()):
            yield from _item(item, f"{path}.items[{index}]")

    return check


def _item(given: Obj, path: str) -> Found:
    yield from _needs("key", "path")(given, path)
    yield from local_path(given.get("path", ""), f"{path}.path")
    yield from mode(given, path, "mode")


def _downward(given: Obj, path: str) -> Found:
    yield from mode(given, path)
    for item in given.get("items") or ():
        yield from references.downward_file(item, path)


def _projected(given: Obj, path: str) -> Found:
    yield from mode(given, path)
    taken: set[str] = set()
    for index, one in enumerate(given.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        chosen = [kind for kind in one if one[kind] is not None]
        if len(chosen) > 1:
            yield forbidden_field(where, "may not specify more than 1 volume type per source")
        for kind in ("secret", "configMap"):
            if kind in chosen:
                yield from _projected_files(one[kind], f"{where}.{kind}", path, taken)
        for item in (one.get("downwardAPI") or {}).get("items") or ():
            yield from references.downward_file(item, f"{where}.downwardAPI")
            yield from _path_taken(item.get("path", ""), item.get("path", ""), path, taken)
        if "serviceAccountToken" in chosen:
            yield from _token(one["serviceAccountToken"], f"{where}.serviceAccountToken", path, taken)


def _projected_files(given: Obj, where: str, path: str, taken: set[str]) -> Found:
    name = given.get("name", "")
    if not name:
        yield required(f"{where}.name")
    for index, item in enumerate(given.get("items") or ()):
        yield from _item(item, f"{where}.items[{index}]")
        yield from _path_taken(item.get("path", ""), name, path, taken)


def _path_taken(file: str, shown: str, path: str, taken: set[str]) -> Found:
    if file in taken:
        yield invalid_value(path, shown, "conflicting duplicate paths")
    if file:
        taken.add(file)


def _token(given: Obj, where: str, path: str, taken: set[str]) -> Found:
    seconds = given.get("expirationSeconds", 3600)
    if seconds < _SHORTEST_TOKEN:
        yield invalid_value(
            f"{where}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
        )
    if seconds > 1 << 32:
        yield invalid_value(
            f"{where}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
        )
    if not given.get("path"):
        yield required(f"{path}.path")
    else:
        yield from local_path(given["path"], f"{path}.path")
        yield from _path_taken(given["path"], given["path"], path, taken)


def _ephemeral(given: Obj, path: str) -> Found:
    from weft.cluster.apiserver.validation import storage

    template = given.get("volumeClaimTemplate")
    if template is None:
        yield required(f"{path}.volumeClaimTemplate")
    else:
        yield from storage.claim_spec(template.get("spec") or {}, f"{path}.volumeClaimTemplate.spec")


def csi(given: Obj, path: str) -> Found:
    """A volume that a driver serves."""
    if not given.get("driver"):
        yield required(f"{path}.driver")


_CHECKS: dict[str, Callable[[Obj, str], Found]] = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "gitRepo": _needs("repository"),
    "gcePersistentDisk": _needs("pdName"),
    "awsElasticBlockStore": _needs("volumeID"),
    "secret": _files("secretName"),
    "nfs": nfs,
    "persistentVolumeClaim": _needs("claimName"),
    "cinder": _needs("volumeID"),
    "cephfs": _needs("monitors"),
    "downwardAPI": _downward,
    "configMap": _files("name"),
    "projected": _projected,
    "csi": csi,
    "ephemeral": _ephemeral,
}
