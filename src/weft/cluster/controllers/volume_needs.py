"""What a pod's claims ask of its node, and what has to happen to them before it can start there."""

from collections.abc import Sequence
from dataclasses import dataclass

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from weft.cluster.controllers import placing
from weft.cluster.controllers.changes import Change, Patch
from weft.cluster.controllers.loop import World
from weft.cluster.controllers.objects import is_finished, is_going
from weft.cluster.controllers.room import Site

_TAKEN = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
SELECTED_NODE = "volume.kubernetes.io/selected-node"


@dataclass(frozen=True, slots=True)
class Volumes:
    """A pod's volumes: those that are bound, and the claims that wait for their first consumer."""

    bound: Sequence[Json]
    waiting: Sequence[Json]
    taken: bool = False
    """Whether another pod has a claim that only one pod at a time may use."""

    def objection(self, site: Site) -> str:
        """Why the volumes cannot be used on this node; empty if they can."""
        if self.taken:
            return _TAKEN
        for volume in self.bound:
            required = (volume["spec"].get("nodeAffinity") or {}).get("required")
            if required and not placing.any_term(required["nodeSelectorTerms"], site.node):
                return "node(s) had volume node affinity conflict"
        return ""

    def awaiting(self, site: Site) -> list[Change]:
        """Tell the provisioner where the pod will be; the pod is bound once its claims are."""
        return [
            Patch(PERSISTENTVOLUMECLAIMS, claim, {"metadata": {"annotations": {SELECTED_NODE: site.name}}})
            for claim in self.waiting
        ]


def needs(pod: Json, world: World) -> Volumes | str:
    """What the pod's claims ask for, or why no node will do."""
    namespace = pod["metadata"]["namespace"]
    bound: list[Json] = []
    waiting: list[Json] = []
    taken = False
    for name in claim_names(pod):
        claim = world.of(PERSISTENTVOLUMECLAIMS).get((namespace, name))
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        if is_going(claim):
            return f'persistentvolumeclaim "{name}" is being deleted'
        alone = "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ())
        taken = taken or (alone and _is_used(name, pod, world))
        volume = world.of(PERSISTENTVOLUMES).get(("", claim["spec"].get("volumeName", "")))
        if claim.get("status", {}).get("phase") == "Bound" and volume:
            bound.append(volume)
        elif waits_for_consumer(claim, world):
            waiting.append(claim)
        else:
            return "pod has unbound immediate PersistentVolumeClaims"
    return Volumes(bound, waiting, taken)


def _is_used(claim: str, pod: Json, world: World) -> bool:
    others = world.of(PODS).within(pod["metadata"]["namespace"])
    return any(
        claim in claim_names(other) for other in others if other["spec"].get("nodeName") and not is_finished(other)
    )


def claim_names(pod: Json) -> list[str]:
    """The claims that a pod mounts; that of an ephemeral volume is named after both."""
    names: list[str] = []
    for volume in pod["spec"].get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            names.append(claim["claimName"])
        elif volume.get("ephemeral"):
            names.append(f"{pod['metadata']['name']}-{volume['name']}")
    return names


def waits_for_consumer(claim: Json, world: World) -> bool:
    """Whether the claim's class has it bound only when a pod needs it."""
    found = world.of(STORAGECLASSES).get(("", claim["spec"].get("storageClassName") or ""))
    return bool(found and found.get("volumeBindingMode") == "WaitForFirstConsumer")
