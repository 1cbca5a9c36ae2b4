"""PersistentVolumes, the claims on them, and StorageClasses."""

import copy
from typing import Any

from weft.cluster.apiserver import names, quantities
from weft.cluster.apiserver.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    required,
    too_many,
    unsupported,
)
from weft.cluster.apiserver.validation import scheduling, volumes
from weft.cluster.apiserver.validation.differences import difference
from weft.cluster.apiserver.validation.rules import (
    IMMUTABLE,
    Found,
    go_map,
    immutable,
    label_selector,
    one_of,
    reason,
)

Obj = dict[str, Any]
_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_RECLAIM = ("Delete", "Recycle", "Retain")
_SOURCES = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
)
_VOLUME_MODES = ("Block", "Filesystem")


def volume(obj: Obj) -> list[FieldError]:
    """What is wrong with a PersistentVolume."""
    return [*_volume(obj.get("spec") or {})]


def _volume(spec: Obj) -> Found:
    if not spec.get("accessModes"):
        yield required("spec.accessModes")
    yield from _access(spec, "spec")
    yield from _capacity(spec.get("capacity") or {})
    yield from one_of(spec.get("persistentVolumeReclaimPolicy"), "spec.persistentVolumeReclaimPolicy", _RECLAIM)
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        if affinity.get("required") is None:
            yield required("spec.nodeAffinity.required", "must specify required node constraints")
        else:
            yield from scheduling.node_selector(affinity["required"], "spec.nodeAffinity.required")
    yield from volumes.source(spec, "spec", _SOURCES)
    if local := spec.get("local"):
        if not local.get("path"):
            yield required("spec.local.path")
        if affinity is None:
            yield required("spec.nodeAffinity", "Local volume requires node affinity")
    if (spec.get("hostPath") or {}).get("path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        why = "may not be 'recycle' for a hostPath mount of '/'"
        yield forbidden_field("spec.persistentVolumeReclaimPolicy", why)
    if name := spec.get("storageClassName"):
        yield from reason(names.subdomain(name), "spec.storageClassName", name)
    yield from one_of(spec.get("volumeMode"), "spec.volumeMode", _VOLUME_MODES)


def _access(spec: Obj, path: str) -> Found:
    modes = spec.get("accessModes") or ()
    for mode in modes:
        yield from one_of(mode, f"{path}.accessModes", _MODES)
    if "ReadWriteOncePod" in modes and {*modes} & {*_MODES[:3]}:
        yield forbidden_field(f"{path}.accessModes", "may not use ReadWriteOncePod with other access modes")


def _capacity(given: Obj) -> Found:
    if not given:
        yield required("spec.capacity")
    if "storage" not in given or len(given) > 1:
        yield unsupported("spec.capacity", go_map(given or None), ("storage",))
    for name, value in sorted(given.items()):
        if quantities.parse(value) <= 0:
            yield invalid_value(f"spec.capacity[{name}]", value, "must be greater than zero")


def volume_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """What a volume is made of stays."""
    new, old = obj["spec"], before["spec"]
    found: list[FieldError] = []
    is_, was = ({kind: spec[kind] for kind in _SOURCES if kind in spec} for spec in (new, old))
    if is_ != was:
        shown = difference("PersistentVolumeSource", was, is_)
        why = f"spec.persistentvolumesource is immutable after creation\n{shown}"
        found.append(forbidden_field("spec.persistentvolumesource", why))
    found += immutable(new, old, "", "volumeMode")
    if old.get("nodeAffinity") is not None and new.get("nodeAffinity") != old["nodeAffinity"]:
        why = f"{IMMUTABLE}, except for updating from beta label to GA"
        found.append(invalid_value("nodeAffinity", new.get("nodeAffinity"), why))
    return found


def claim(obj: Obj) -> list[FieldError]:
    """What is wrong with a PersistentVolumeClaim."""
    return [*claim_spec(obj.get("spec") or {}, "spec")]


def claim_spec(spec: Obj, path: str) -> Found:
    """What is wrong with what is claimed."""
    if not spec.get("accessModes"):
        yield required(f"{path}.accessModes", "at least 1 access mode is required")
    yield from label_selector(spec.get("selector"), f"{path}.selector")
    yield from _access(spec, path)
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    where = f"{path}.resources[storage]"
    if asked is None:
        yield required(where)
    elif quantities.parse(asked) <= 0:
        yield invalid_value(where, asked, "must be greater than zero")
    if name := spec.get("storageClassName"):
        yield from reason(names.subdomain(name), f"{path}.storageClassName", name)
    yield from one_of(spec.get("volumeMode"), f"{path}.volumeMode", _VOLUME_MODES)
    for field in ("dataSource", "dataSourceRef"):
        yield from _data_source(spec.get(field), f"{path}.{field}")


def _data_source(given: Obj | None, path: str) -> Found:
    if given is None:
        return
    for field in ("name", "kind"):
        if not given.get(field):
            yield required(f"{path}.{field}")
    if not given.get("apiGroup") and given.get("kind") != "PersistentVolumeClaim":
        why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        yield invalid_value(path, given.get("kind", ""), why)


def claim_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A claim stays but for its size, once it is bound, and its class, where it had none."""
    new, old, found = copy.deepcopy(obj["spec"]), before["spec"], list[FieldError]()
    if not old.get("volumeName") and "volumeName" in new:
        del new["volumeName"]
    if old.get("storageClassName") is None:
        new.pop("storageClassName", None)
    asked, had = (_size(spec) for spec in (obj["spec"], old))
    if (obj.get("status") or {}).get("phase") == "Bound" and asked and had:
        new["resources"]["requests"]["storage"] = had
    if new != old:
        why = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName"
            " for bound claims"
        )
        shown = difference("PersistentVolumeClaimSpec", old, new)
        found.append(forbidden_field("spec", f"{why}\n{shown}"))
    granted = ((before.get("status") or {}).get("capacity") or {}).get("storage", "0")
    if (
        asked
        and had
        and quantities.parse(asked) < quantities.parse(had)
        and (quantities.parse(asked) <= quantities.parse(granted))
    ):
        where = "spec.resources.requests.storage"
        found.append(forbidden_field(where, "field can not be less than status.capacity"))
    return [*found, *immutable(obj["spec"], old, "", "volumeMode")]


def _size(spec: Obj) -> str | None:
    asked: str | None = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    return asked


def storage_class(obj: Obj) -> list[FieldError]:
    """What is wrong with a StorageClass."""
    return [*_storage_class(obj)]


def _storage_class(obj: Obj) -> Found:
    provisioner = obj.get("provisioner", "")
    if not provisioner:
        yield required("provisioner")
    else:
        for why in names.qualified(provisioner.lower()):
            yield invalid_value("provisioner", provisioner, why)
    parameters = obj.get("parameters") or {}
    if len(parameters) > 512:
        yield too_many("parameters", len(parameters), 512)
    if "" in parameters:
        yield invalid_value("parameters", "", "field can not be empty.")
    yield from one_of(obj.get("reclaimPolicy"), "reclaimPolicy", ("Delete", "Retain"))
    yield from one_of(
        obj.get("volumeBindingMode"), "volumeBindingMode", ("Immediate", "WaitForFirstConsumer"), absent=""
    )


def storage_class_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """How a class makes volumes stays."""
    found = [
        forbidden_field(field, f"updates to {field} are forbidden.")
        for field in ("parameters", "provisioner", "reclaimPolicy")
        if obj.get(field) != before.get(field)
    ]
    return [*found, *immutable(obj, before, "", "volumeBindingMode")]
