"""Events of objects, where `kubectl describe` shows them. What is said a second time is counted."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import EVENTS, Kind

Json = dict[str, Any]
_LONGEST: Final = 1024
"""Characters of a message, as Kubernetes has it."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who tells: a component, which of its instances, and the node it is on where that matters."""

    component: str
    instance: str
    host: str = ""


def event(
    kind: Kind,
    owner: Mapping[str, Any],
    reason: str,
    message: str,
    now: datetime,
    by: Reporter,
    *,
    warns: bool = True,
) -> Json:
    """The Event about the object with the metadata `owner`.

    Its name follows from what it says, so that another reporter, or one that was started again, counts it up.
    """
    digest = hashlib.sha256(f"{owner['uid']} {reason} {message}".encode()).hexdigest()[:16]
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {"name": f"{owner['name'][:200]}.{digest}", "namespace": owner["namespace"]},
        "involvedObject": {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "namespace": owner["namespace"],
            "name": owner["name"],
            "uid": owner["uid"],
        },
        "type": "Warning" if warns else "Normal",
        "reason": reason,
        "message": message[:_LONGEST],
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": by.component, **({"host": by.host} if by.host else {})},
        "reportingComponent": by.component,
        "reportingInstance": by.instance,
    }


async def write(kube: Kube, new: Json) -> None:
    """Write an Event, or count the one that says the same. Raises what the client raises."""
    name, namespace = new["metadata"]["name"], new["metadata"]["namespace"]
    try:
        await kube.create(EVENTS, new)
    except ApiError as error:
        if error.code != 409:
            raise
        known = await kube.get(EVENTS, name, namespace)
        again = {"count": known.get("count", 1) + 1, "lastTimestamp": new["lastTimestamp"]}
        await kube.patch(EVENTS, name, again, namespace)
