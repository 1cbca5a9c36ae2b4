"""ControllerRevisions: the templates that a DaemonSet or StatefulSet had, for `kubectl rollout undo`."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import CONTROLLERREVISIONS, Kind
from weft.cluster.controllers.changes import Change, Create, Delete, Patch
from weft.cluster.controllers.loop import World
from weft.cluster.controllers.objects import is_going, owned_by, owner_reference

HASH_LABEL = "controller-revision-hash"
_ALPHABET = "bcdf456789"  # a letter for each digit; no vowels, so that no word comes up


@dataclass(frozen=True, slots=True)
class History:
    """What an owner's templates were: the current one's revision (None until it is written), and all that are."""

    hash: str
    current: Json | None
    held: Sequence[Json]

    @property
    def name(self) -> str:
        """The current revision's name; empty until it is written."""
        return str(self.current["metadata"]["name"]) if self.current else ""

    def template(self, name: str) -> Json | None:
        """The pod template of the revision of that name."""
        found = next((entry for entry in self.held if entry["metadata"]["name"] == name), None)
        if found is None:
            return None
        return {key: value for key, value in found["data"]["spec"]["template"].items() if key != "$patch"}


def digest(value: Json) -> str:
    """A short name for a value: equal values, equal names."""
    content = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    number = int.from_bytes(hashlib.sha256(content).digest()[:4])
    return "".join(_ALPHABET[int(digit)] for digit in str(number))


def history(owner: Json, world: World) -> History:
    """The owner's revisions, the oldest first."""
    found = world.of(CONTROLLERREVISIONS).within(owner["metadata"]["namespace"])
    held = [entry for entry in owned_by(owner, found) if not is_going(entry)]
    held.sort(key=lambda entry: int(entry["revision"]))
    wanted = digest(owner["spec"]["template"])
    current = next((entry for entry in held if entry["metadata"]["labels"].get(HASH_LABEL) == wanted), None)
    return History(wanted, current, held)


def keep(kind: Kind, owner: Json, past: History, in_use: set[str]) -> list[Change]:
    """Write down the current template as the newest revision; forget the oldest beyond the limit.

    `in_use` names the revisions that pods still have.
    """
    newest = int(past.held[-1]["revision"]) if past.held else 0
    changes: list[Change] = []
    if past.current is None:
        changes.append(Create(CONTROLLERREVISIONS, _revision(kind, owner, past.hash, newest + 1)))
    elif int(past.current["revision"]) < newest:
        changes.append(Patch(CONTROLLERREVISIONS, past.current, {"revision": newest + 1}))
    limit = owner["spec"].get("revisionHistoryLimit", 10)
    old = [entry for entry in past.held if entry is not past.current and entry["metadata"]["name"] not in in_use]
    changes += [Delete(CONTROLLERREVISIONS, entry) for entry in old[: max(0, len(old) - limit)]]
    return changes


def _revision(kind: Kind, owner: Json, hashed: str, number: int) -> Json:
    meta, template = owner["metadata"], owner["spec"]["template"]
    return {
        "metadata": {
            "name": f"{meta['name']}-{hashed}",
            "namespace": meta["namespace"],
            "labels": ((template.get("metadata") or {}).get("labels") or {}) | {HASH_LABEL: hashed},
            "annotations": meta.get("annotations") or {},
            "ownerReferences": [owner_reference(kind, owner)],
        },
        # a strategic merge patch that brings the template back: what `kubectl rollout undo` sends
        "data": {"spec": {"template": template | {"$patch": "replace"}}},
        "revision": number,
    }
