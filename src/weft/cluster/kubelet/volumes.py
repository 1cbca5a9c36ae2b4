"""What a pod's volumes hold: pure, from the pod and what it refers to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from weft.cluster.kubelet.environment import NodeFacts, field, resource
from weft.cluster.kubelet.objects import CLAIM, VOLUME, ConfigError, Objects, claim_name, data_of

_MODE = 0o644


class Token(NamedTuple):
    """A service account token that a pod's volume asks for. `seconds` is how long it shall be good."""

    audience: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Content:
    """A file of a volume."""

    data: bytes
    mode: int = _MODE


@dataclass(frozen=True, slots=True)
class Scratch:
    """An emptyDir, on disk or in memory. `size` limits a memory-backed one, in mount's words."""

    name: str
    memory: bool
    size: str = ""


@dataclass(frozen=True, slots=True)
class Tree:
    """Files written by us and replaced all at once."""

    name: str
    files: Mapping[str, Content]


@dataclass(frozen=True, slots=True)
class Host:
    """A path of the machine. `type` as hostPath has it (`DirectoryOrCreate`…).

    `grouped` tells whether it becomes the pod's fsGroup's; a plain hostPath stays whose it is.
    """

    name: str
    path: str
    type: str
    grouped: bool = False
    readonly: bool = False


Volume = Scratch | Tree | Host


def tokens(pod: Mapping[str, Any]) -> frozenset[Token]:
    """The tokens that the pod's projected volumes ask for."""
    return frozenset(
        _token(source["serviceAccountToken"])
        for volume in pod["spec"].get("volumes") or ()
        for source in (volume.get("projected") or {}).get("sources") or ()
        if "serviceAccountToken" in source
    )


def volumes(
    pod: Mapping[str, Any], pod_ip: str, node: NodeFacts, objects: Objects, given: Mapping[Token, str]
) -> Iterator[Volume]:
    """The pod's volumes, one by one; ConfigError for the first that cannot be filled, naming it.

    `given` has the tokens that `tokens` asks for.
    """
    for volume in pod["spec"].get("volumes") or ():
        try:
            yield _volume(volume, pod, pod_ip, node, objects, given)
        except ConfigError as error:
            raise ConfigError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from None


def _volume(
    volume: Mapping[str, Any],
    pod: Mapping[str, Any],
    pod_ip: str,
    node: NodeFacts,
    objects: Objects,
    given: Mapping[Token, str],
) -> Volume:
    name = str(volume["name"])
    namespace = pod["metadata"]["namespace"]
    if claim := claim_name(pod, volume):
        return _claimed(volume, claim, namespace, objects)
    if (host := volume.get("hostPath")) is not None:
        return Host(name, host["path"], host.get("type") or "")
    if (source := volume.get("configMap")) is not None:
        return Tree(name, _keys("ConfigMap", namespace, source["name"], source, objects, _default(source)))
    if (source := volume.get("secret")) is not None:
        return Tree(name, _keys("Secret", namespace, source["secretName"], source, objects, _default(source)))
    if (source := volume.get("downwardAPI")) is not None:
        return Tree(name, _downward(source, pod, pod_ip, node, _default(source)))
    if (source := volume.get("projected")) is not None:
        mode = _default(source)
        files: dict[str, Content] = {}
        for each in source.get("sources") or ():
            files |= _projected(each, mode, pod, pod_ip, node, objects, given)
        return Tree(name, files)
    if (scratch := volume.get("emptyDir", {} if len(volume) == 1 else None)) is not None:
        return Scratch(
            name, (scratch or {}).get("medium") == "Memory", str((scratch or {}).get("sizeLimit") or "")
        )
    raise _unsupported("volumes", volume, "name")


def _claimed(volume: Mapping[str, Any], claim_: str, namespace: str, objects: Objects) -> Volume:
    claim = objects.get(CLAIM, namespace, claim_)
    if claim is None:
        raise ConfigError(f'persistentvolumeclaim "{claim_}" not found')
    name = str((claim.get("spec") or {}).get("volumeName") or "")
    bound = objects.get(VOLUME, "", name) if name else None
    if bound is None or (claim.get("status") or {}).get("phase") != "Bound":
        raise ConfigError(f"error processing PVC {namespace}/{claim_}: PVC is not bound")
    spec = bound["spec"]
    asked = volume.get("persistentVolumeClaim") or {}
    readonly = bool(asked.get("readOnly"))
    if (host := spec.get("hostPath")) is not None:
        return Host(str(volume["name"]), host["path"], host.get("type") or "", readonly=readonly)
    if (local := spec.get("local")) is not None:
        return Host(str(volume["name"]), local["path"], "Directory", grouped=True, readonly=readonly)
    about = {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "storageClassName",
        "volumeMode",
    }
    about |= {"persistentVolumeReclaimPolicy", "volumeAttributesClassName"}
    raise _unsupported(f'volume "{name}": volumes', spec, *about)


def _unsupported(what: str, source: Mapping[str, Any], *others: str) -> ConfigError:
    kinds = ", ".join(key for key in source if key not in others)
    return ConfigError(f"{what} of type {kinds} are not supported on this node. Use hostPath, local or emptyDir.")


def _projected(
    source: Mapping[str, Any],
    mode: int,
    pod: Mapping[str, Any],
    pod_ip: str,
    node: NodeFacts,
    objects: Objects,
    given: Mapping[Token, str],
) -> dict[str, Content]:
    namespace = pod["metadata"]["namespace"]
    if (part := source.get("serviceAccountToken")) is not None:
        # readable by any user of the pod: the containers' users differ, and the volume is the pod's alone
        return {_inside(part["path"]): Content(given[_token(part)].encode(), mode | 0o044)}
    if (part := source.get("configMap")) is not None:
        return _keys("ConfigMap", namespace, part["name"], part, objects, mode)
    if (part := source.get("secret")) is not None:
        return _keys("Secret", namespace, part["name"], part, objects, mode)
    if (part := source.get("downwardAPI")) is not None:
        return _downward(part, pod, pod_ip, node, mode)
    raise ConfigError(f"projected sources of type {', '.join(source)} are not supported on this node")


def _keys(
    kind: str, namespace: str, name: str, source: Mapping[str, Any], objects: Objects, mode: int
) -> dict[str, Content]:
    found = objects.get(kind, namespace, name)
    if found is None:
        if source.get("optional"):
            return {}
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    data = data_of(found)
    if not source.get("items"):
        return {_inside(key): Content(value, mode) for key, value in data.items()}
    files = {}
    for item in source["items"]:
        if item["key"] in data:
            files[_inside(item["path"])] = Content(data[item["key"]], item.get("mode") or mode)
        elif not source.get("optional"):
            raise ConfigError(f"{kind.lower()} references non-existent config key: {item['key']}")
    return files


def _downward(
    source: Mapping[str, Any], pod: Mapping[str, Any], pod_ip: str, node: NodeFacts, mode: int
) -> dict[str, Content]:
    files = {}
    for item in source.get("items") or ():
        if reference := item.get("fieldRef"):
            text = field(pod, reference["fieldPath"], pod_ip, node)
        else:
            reference = item["resourceFieldRef"]
            named = [each for each in pod["spec"]["containers"] if each["name"] == reference.get("containerName")]
            if not named:
                raise ConfigError(f"container {reference.get('containerName')} not found in pod")
            text = resource(named[0], reference["resource"], reference.get("divisor"), node)
        files[_inside(item["path"])] = Content(text.encode(), item.get("mode") or mode)
    return files


def _token(part: Mapping[str, Any]) -> Token:
    return Token(part.get("audience") or "", int(part.get("expirationSeconds") or 3600))


def _default(source: Mapping[str, Any]) -> int:
    mode = source.get("defaultMode")
    return _MODE if mode is None else int(mode)


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise ConfigError(f"invalid path {path}: it must stay inside the volume")
    return path
