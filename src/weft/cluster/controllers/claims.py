"""The claims of a StatefulSet's pods: named after them, kept or deleted as the retention policy says."""

from collections.abc import Mapping

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from weft.cluster.controllers.changes import Change, Patch
from weft.cluster.controllers.loop import World
from weft.cluster.controllers.objects import is_going, owner_reference


def _name(template: Json, pod: str) -> str:
    return f"{template['metadata']['name']}-{pod}"


def _of(owner: Json, pod: str, world: World) -> list[Json]:
    namespace = owner["metadata"]["namespace"]
    claims = world.of(PERSISTENTVOLUMECLAIMS)
    names = [_name(template, pod) for template in owner["spec"].get("volumeClaimTemplates") or ()]
    return [claim for name in names if (claim := claims.get((namespace, name)))]


def missing(owner: Json, ordinal: int, world: World) -> list[Json]:
    """The claims that the pod of this ordinal still lacks."""
    meta, spec = owner["metadata"], owner["spec"]
    pod = f"{meta['name']}-{ordinal}"
    held = {claim["metadata"]["name"] for claim in _of(owner, pod, world)}
    selected = spec["selector"].get("matchLabels") or {}
    return [
        {
            "metadata": {
                "name": _name(template, pod),
                "namespace": meta["namespace"],
                "labels": (template["metadata"].get("labels") or {}) | selected,
                "annotations": template["metadata"].get("annotations") or {},
            },
            "spec": template["spec"],
        }
        for template in spec.get("volumeClaimTemplates") or ()
        if _name(template, pod) not in held
    ]


def mounted(spec: Json, owner: Json, pod: str) -> Json:
    """The pod's spec with each claim as a volume of its template's name."""
    templates = owner["spec"].get("volumeClaimTemplates") or ()
    names = {template["metadata"]["name"] for template in templates}
    volumes = [
        {"name": each["metadata"]["name"], "persistentVolumeClaim": {"claimName": _name(each, pod)}}
        for each in templates
    ]
    volumes += [volume for volume in spec.get("volumes") or () if volume["name"] not in names]
    return spec | ({"volumes": volumes} if volumes else {})


def owners(owner: Json, pods: Mapping[int, Json], ordinals: range, world: World) -> list[Change]:
    """Have each claim owned by what it is to go with: the StatefulSet, its condemned pod, or nothing."""
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    with_set, with_pod = policy.get("whenDeleted") == "Delete", policy.get("whenScaled") == "Delete"
    changes: list[Change] = []
    for ordinal, pod in pods.items():
        for claim in _of(owner, pod["metadata"]["name"], world):
            wanted: list[Json] = []
            if ordinal not in ordinals and with_pod:
                wanted = [_plain(owner_reference(PODS, pod))]
            elif with_set:
                wanted = [owner_reference(STATEFULSETS, owner)]
            changes += _owned(claim, owner, pod, wanted)
    return changes


def _owned(claim: Json, owner: Json, pod: Json, wanted: list[Json]) -> list[Change]:
    held = claim["metadata"].get("ownerReferences") or []
    ours = {owner["metadata"]["uid"], pod["metadata"]["uid"]}
    references = [entry for entry in held if entry["uid"] not in ours] + wanted
    if references == held or is_going(claim):
        return []
    patch = {"metadata": {"uid": claim["metadata"]["uid"], "ownerReferences": references or None}}
    return [Patch(PERSISTENTVOLUMECLAIMS, claim, patch)]


def _plain(reference: Json) -> Json:
    return reference | {"controller": False, "blockOwnerDeletion": False}
