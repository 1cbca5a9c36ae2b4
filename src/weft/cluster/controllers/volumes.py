"""PersistentVolumes and claims: finding each other, folders made on demand, and what is left behind."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES, Kind
from weft.cluster.apiserver.quantities import parse
from weft.cluster.controllers.changes import Change, Create, Delete, Erase, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, differs, is_finished, is_going, key_of, selects
from weft.cluster.controllers.volume_needs import SELECTED_NODE, claim_names, waits_for_consumer

_RESYNC = timedelta(seconds=15)
PROVISIONER = "weft.dev/hostpath"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_COMPLETED, _BY_CONTROLLER = "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_CLAIM_GUARD, _VOLUME_GUARD = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"


def default_class() -> Json:
    """The StorageClass `standard`: a folder on this machine, made when a pod first needs it."""
    return {
        "metadata": {"name": "standard", "annotations": {_DEFAULT_CLASS: "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


class Claims(Controller):
    """Finds or makes the volume of each claim, and binds both in steps, so that none is bound twice."""

    name = "persistentvolume-controller"
    watches: tuple[Kind, ...] = (PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: dict[Key, tuple[str, datetime]] = {}

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A claim, that of a volume, or all that are not bound when a volume or class is new."""
        if kind == PERSISTENTVOLUMECLAIMS:
            return [key_of(obj)]
        if reference := obj.get("spec", {}).get("claimRef"):
            return [(reference["namespace"], reference["name"])]
        return [key_of(claim) for claim in world.of(PERSISTENTVOLUMECLAIMS) if not _is_bound(claim)]

    def plan(self, key: Key, world: World) -> Plan:
        """The next step towards a bound claim."""
        claim = world.of(PERSISTENTVOLUMECLAIMS).get(key)
        if claim is None or is_going(claim):
            self._told.pop(key, None)
            return Plan()
        # what is waited for is told again and again, as long as it is
        return Plan(self._next(claim, world), None if _is_bound(claim) else _RESYNC)

    def _next(self, claim: Json, world: World) -> list[Change]:
        if claim["spec"].get("volumeName"):
            return self._bind_named(claim, world)
        if claim["spec"].get("storageClassName") is None and (default := _default(world)):
            return [Patch(PERSISTENTVOLUMECLAIMS, claim, {"spec": {"storageClassName": default}})]
        held = [volume for volume in world.of(PERSISTENTVOLUMES) if _names(volume, claim)]
        delayed = waits_for_consumer(claim, world) and SELECTED_NODE not in _annotations(claim)
        if not held and delayed:
            if pods := _unscheduled(claim, world):
                message = f"waiting for pod {','.join(pods)} to be scheduled"
                return self._once(claim, "WaitForPodScheduled", message, world)
            message = "waiting for first consumer to be created before binding"
            return self._once(claim, "WaitForFirstConsumer", message, world)
        volume = held[0] if held else _best(claim, world)
        if volume is None:
            return self._provision(claim, world)
        if (volume["spec"].get("claimRef") or {}).get("uid") != claim["metadata"]["uid"]:
            return [_taken(volume, claim)]
        marks = {_COMPLETED: "yes", _BY_CONTROLLER: "yes"}
        patch = {
            "metadata": {"annotations": marks, "uid": claim["metadata"]["uid"]},
            "spec": {"volumeName": volume["metadata"]["name"]},
        }
        return [Patch(PERSISTENTVOLUMECLAIMS, claim, patch)]

    def _bind_named(self, claim: Json, world: World) -> list[Change]:
        """A claim that names its volume, by us or by its author."""
        volume = world.of(PERSISTENTVOLUMES).get(("", claim["spec"]["volumeName"]))
        if volume is None:
            if not _is_bound(claim):
                return []  # the volume that its author named may yet come
            lost = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            return [
                Patch(PERSISTENTVOLUMECLAIMS, claim, {"status": {"phase": "Lost"}}, "status"),
                Tell(claim, PERSISTENTVOLUMECLAIMS, "ClaimLost", lost, self.name, warning=True),
            ]
        reference = volume["spec"].get("claimRef")
        if reference is None or (_names(volume, claim) and not reference.get("uid")):
            return [_taken(volume, claim)]
        if reference.get("uid") != claim["metadata"]["uid"]:
            message = f'volume "{volume["metadata"]["name"]}" already bound to a different claim.'
            return self._once(claim, "FailedBinding", message, world, warning=True)
        status = {
            "phase": "Bound",
            "accessModes": volume["spec"].get("accessModes"),
            "capacity": volume["spec"].get("capacity"),
        }
        if differs(claim.get("status", {}), status):
            return [Patch(PERSISTENTVOLUMECLAIMS, claim, {"status": status}, "status")]
        return []

    def _provision(self, claim: Json, world: World) -> list[Change]:
        name = claim["spec"].get("storageClassName")
        if not name:
            message = "no persistent volumes available for this claim and no storage class is set"
            return self._once(claim, "FailedBinding", message, world)
        found = world.of(STORAGECLASSES).get(("", name))
        if found is None:
            message = f'storageclass.storage.k8s.io "{name}" not found'
            return self._once(claim, "ProvisioningFailed", message, world, warning=True)
        if found["provisioner"] != PROVISIONER:
            message = (
                f"Waiting for a volume to be created either by the external provisioner '{found['provisioner']}' "
                "or manually by the system administrator. If volume creation is delayed, please verify that the "
                "provisioner is running and correctly registered."
            )
            return self._once(claim, "ExternalProvisioning", message, world)
        volume = self._volume(claim, found)
        made = f"Successfully provisioned volume {volume['metadata']['name']}"
        tell = Tell(claim, PERSISTENTVOLUMECLAIMS, "ProvisioningSucceeded", made, PROVISIONER)
        return [Create(PERSISTENTVOLUMES, volume, tell)]

    def _volume(self, claim: Json, found: Json) -> Json:
        namespace, name = key_of(claim)
        volume = f"pvc-{claim['metadata']['uid']}"
        spec = claim["spec"]
        return {
            "metadata": {"name": volume, "annotations": {_PROVISIONED_BY: PROVISIONER}},
            "spec": {
                "capacity": {"storage": spec["resources"]["requests"]["storage"]},
                "accessModes": spec["accessModes"],
                "persistentVolumeReclaimPolicy": found.get("reclaimPolicy") or "Delete",
                "storageClassName": found["metadata"]["name"],
                "volumeMode": "Filesystem",
                "claimRef": _reference(claim),
                "hostPath": {
                    "path": str(self._folder / f"{volume}_{namespace}_{name}"),
                    "type": "DirectoryOrCreate",
                },
            },
        }

    def _once(
        self, claim: Json, reason: str, message: str, world: World, *, warning: bool = False
    ) -> list[Change]:
        """Tell it now, and not again before the next resync."""
        told, when = self._told.get(key_of(claim), ("", world.now))
        if told == message and world.now - when < _RESYNC:
            return []
        self._told[key_of(claim)] = message, world.now
        return [Tell(claim, PERSISTENTVOLUMECLAIMS, reason, message, self.name, warning=warning)]


def _unscheduled(claim: Json, world: World) -> list[str]:
    """The pods without a node that use a claim."""
    namespace, name = key_of(claim)
    pods = [pod for pod in world.of(PODS).within(namespace) if not pod["spec"].get("nodeName")]
    return [pod["metadata"]["name"] for pod in pods if name in claim_names(pod)]


class Volumes(Controller):
    """Says of each volume whether it is free, and reclaims those whose claim is gone."""

    name = "persistentvolume-controller"
    watches: tuple[Kind, ...] = (PERSISTENTVOLUMES, PERSISTENTVOLUMECLAIMS)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A volume, or that of a claim."""
        if kind == PERSISTENTVOLUMES:
            return [key_of(obj)]
        named = obj["spec"].get("volumeName")
        holding = [key_of(volume) for volume in world.of(PERSISTENTVOLUMES) if _names(volume, obj)]
        return {*holding, ("", named)} if named else holding

    def plan(self, key: Key, world: World) -> Plan:
        """The volume's phase; deletion where its claim is gone and its policy says so."""
        volume = world.of(PERSISTENTVOLUMES).get(key)
        if volume is None:
            return Plan()
        phase, message = self._phase(volume, world)
        changes: list[Change] = []
        status: Json = {"phase": phase, "message": message or None}
        if differs(volume.get("status", {}), status):
            changes.append(Patch(PERSISTENTVOLUMES, volume, {"status": status}, "status"))
            if message:
                tell = Tell(volume, PERSISTENTVOLUMES, "VolumeFailedDelete", message, self.name, warning=True)
                changes.append(tell)
        elif phase == "Released" and self._deletes(volume) and not is_going(volume):
            changes += [Erase(volume["spec"]["hostPath"]["path"]), Delete(PERSISTENTVOLUMES, volume)]
        return Plan(changes)

    def _phase(self, volume: Json, world: World) -> tuple[str, str]:
        reference = volume["spec"].get("claimRef")
        if not reference or not reference.get("uid"):
            return "Available", ""
        claim = world.of(PERSISTENTVOLUMECLAIMS).get((reference["namespace"], reference["name"]))
        if claim and claim["metadata"]["uid"] == reference["uid"]:
            bound = claim["spec"].get("volumeName") == volume["metadata"]["name"]
            return ("Bound" if bound else volume.get("status", {}).get("phase") or "Pending"), ""
        if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete" and not self._deletes(volume):
            name = volume["metadata"]["name"]
            return "Failed", f'error getting deleter volume plugin for volume "{name}": no volume plugin matched'
        return "Released", ""

    def _deletes(self, volume: Json) -> bool:
        """Whether the volume is a folder that we made and that is to go with its claim."""
        path = Path((volume["spec"].get("hostPath") or {}).get("path") or "/")
        ours = _annotations(volume).get(_PROVISIONED_BY) == PROVISIONER and path.parent == self._folder
        return ours and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"


class VolumeGuards(Controller):
    """Holds claims that pods use, and bound volumes, against deletion. A volume's key has no namespace."""

    name = "pvc-protection-controller"
    watches: tuple[Kind, ...] = (PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:  # noqa: ARG002, the names are in the object
        """A claim or volume, or the claims of a pod."""
        if kind == PODS:
            return [(obj["metadata"]["namespace"], name) for name in claim_names(obj)]
        return [key_of(obj)]

    def plan(self, key: Key, world: World) -> Plan:
        """Add the finalizer, or take it away when nothing holds the object any more."""
        kind, guard = (PERSISTENTVOLUMECLAIMS, _CLAIM_GUARD) if key[0] else (PERSISTENTVOLUMES, _VOLUME_GUARD)
        found = world.of(kind).get(key)
        if found is None:
            return Plan()
        held: list[str] = found["metadata"].get("finalizers") or []
        if not is_going(found):
            wanted = held if guard in held else [*held, guard]
        elif _in_use(found, key, world):
            wanted = held
        else:
            wanted = [name for name in held if name != guard]
        if wanted == held:
            return Plan()
        patch = {"metadata": {"uid": found["metadata"]["uid"], "finalizers": wanted or None}}
        return Plan([Patch(kind, found, patch)])


def _in_use(found: Json, key: Key, world: World) -> bool:
    if not key[0]:
        return bool(found.get("status", {}).get("phase") == "Bound")
    return any(not is_finished(pod) and key[1] in claim_names(pod) for pod in world.of(PODS).within(key[0]))


def _annotations(obj: Json) -> dict[str, str]:
    annotations: dict[str, str] = obj["metadata"].get("annotations") or {}
    return annotations


def _is_bound(claim: Json) -> bool:
    return bool(claim.get("status", {}).get("phase") == "Bound")


def _names(volume: Json, claim: Json) -> bool:
    """Whether a volume is kept for this claim."""
    reference = volume["spec"].get("claimRef")
    if not reference or (reference.get("namespace"), reference.get("name")) != key_of(claim):
        return False
    return reference.get("uid") in {None, "", claim["metadata"]["uid"]}


def _default(world: World) -> str:
    classes = [each for each in world.of(STORAGECLASSES) if _annotations(each).get(_DEFAULT_CLASS) == "true"]
    # of several defaults the newest counts
    newest = max(classes, key=lambda each: str(each["metadata"]["creationTimestamp"]), default=None)
    return str(newest["metadata"]["name"]) if newest else ""


def _best(claim: Json, world: World) -> Json | None:
    """The smallest free volume that is large enough and otherwise as the claim asks."""
    spec = claim["spec"]
    size = parse(str(spec["resources"]["requests"]["storage"]))

    def fits(volume: Json) -> bool:
        offered = volume["spec"]
        return (
            not offered.get("claimRef")
            and not is_going(volume)
            and (offered.get("storageClassName") or "") == (spec.get("storageClassName") or "")
            and set(spec.get("accessModes") or ()) <= set(offered.get("accessModes") or ())
            and offered.get("volumeMode", "Filesystem") == spec.get("volumeMode", "Filesystem")
            and (spec.get("selector") is None or selects(spec["selector"], volume["metadata"].get("labels")))
            and _capacity(volume) >= size
        )

    return min(
        filter(fits, world.of(PERSISTENTVOLUMES)),
        key=lambda volume: (_capacity(volume), key_of(volume)),
        default=None,
    )


def _capacity(volume: Json) -> float:
    return float(parse(str((volume["spec"].get("capacity") or {}).get("storage", 0))))


def _reference(claim: Json) -> Json:
    namespace, name = key_of(claim)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": namespace,
        "name": name,
        "uid": claim["metadata"]["uid"],
        "resourceVersion": claim["metadata"]["resourceVersion"],
    }


def _taken(volume: Json, claim: Json) -> Change:
    patch = {
        "metadata": {"uid": volume["metadata"]["uid"], "resourceVersion": volume["metadata"]["resourceVersion"]},
        "spec": {"claimRef": _reference(claim)},
    }
    return Patch(PERSISTENTVOLUMES, volume, patch)
