"""WorkloadEntries that the control plane makes for workloads that connect on their own, by their group."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final

import msgspec

from weft.api.workload_entry import HEALTH_CHECKED, HEALTHY
from weft.api.workload_group import WorkloadGroup

GROUP: Final = "istio.io/autoRegistrationGroup"
CONTROLLER: Final = "istio.io/workloadController"
CONNECTED: Final = "istio.io/connectedAt"
DISCONNECTED: Final = "istio.io/disconnectedAt"
ASKED: Final = "AUTO_REGISTER_GROUP"
"""The node metadata by which a proxy asks to be registered."""
GRACE: Final = timedelta(seconds=10)
"""How long an entry outlives its proxy's connection: it may come back, to another control plane perhaps."""
HEARTBEAT: Final = timedelta(minutes=5)
"""How often the time of connection is renewed; an entry that three of them passed by belongs to nobody."""

_LONGEST_NAME: Final = 253
_DEFAULT_ACCOUNT: Final = "default"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A proxy that asks to be registered: what it says, and who it proved to be."""

    group: str
    namespace: str
    service_account: str
    address: str
    network: str = ""
    locality: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def entry_name(self) -> str:
        """`GROUP-ADDRESS`, and the network where the proxy names one; the end of it where that is too long."""
        parts = (self.group, self.address.replace(":", "-"), self.network)
        return "-".join(part for part in parts if part)[-_LONGEST_NAME:].lstrip("-.")


def refusal(arrival: Arrival, group: WorkloadGroup) -> str:
    """Why a workload may not register with a group, empty if it may: only its own account's workloads may."""
    wanted = group.spec.template.service_account or _DEFAULT_ACCOUNT
    if group.metadata.namespace != arrival.namespace:
        return f"WorkloadGroup {arrival.group} is in another namespace than {arrival.namespace}"
    if arrival.service_account != wanted:
        return f"WorkloadGroup {arrival.group} is for the account {wanted}, not {arrival.service_account}"
    try:
        ip_address(arrival.address)
    except ValueError:
        return f'"{arrival.address}" is not an address to register'
    return ""


def entry(arrival: Arrival, group: WorkloadGroup, uid: str, controller: str, now: datetime) -> Json:
    """The WorkloadEntry of a workload that has just connected."""
    written = group.spec.metadata
    template = group.spec.template
    labels = {**dict(arrival.labels), **(written.labels if written else {}), **template.labels}
    spec: Json = msgspec.to_builtins(template)
    spec |= {"address": arrival.address, "labels": labels}
    spec["network"] = arrival.network or template.network
    spec["locality"] = template.locality or arrival.locality
    spec["serviceAccount"] = arrival.service_account
    probed = {HEALTH_CHECKED: "true"} if group.spec.probe is not None else {}
    owner = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "name": arrival.group,
        "uid": uid,
        "controller": True,
    }
    return {
        "metadata": {
            "name": arrival.entry_name,
            "namespace": arrival.namespace,
            "labels": labels,
            "annotations": {
                **(written.annotations if written else {}),
                **probed,
                GROUP: arrival.group,
                **connected(controller, now),
            },
            "ownerReferences": [owner],
        },
        "spec": {key: value for key, value in spec.items() if value not in ("", None, {})},
    }


def connected(controller: str, now: datetime) -> Mapping[str, str | None]:
    """The annotations of an entry whose workload is connected to a control plane; None takes one away."""
    return {CONTROLLER: controller, CONNECTED: stamp(now)}


def is_over(annotations: Mapping[str, str], now: datetime) -> bool:
    """Whether an entry's workload has been gone for longer than an entry is kept."""
    if GROUP not in annotations:
        return False
    left, joined = _read(annotations.get(DISCONNECTED, "")), _read(annotations.get(CONNECTED, ""))
    if left is not None:
        return now - left >= GRACE
    return joined is not None and now - joined >= 3 * HEARTBEAT


def with_health(conditions: list[Json] | None, trouble: str | None, now: datetime) -> list[Json]:
    """The conditions of an entry after a report of its health; `trouble` None: it is well."""
    known = [each for each in conditions or [] if each.get("type") != HEALTHY]
    before = next((each for each in conditions or [] if each.get("type") == HEALTHY), {})
    status = "True" if trouble is None else "False"
    changed = stamp(now) if before.get("status") != status else before.get("lastTransitionTime", stamp(now))
    found = {"type": HEALTHY, "status": status, "lastProbeTime": stamp(now), "lastTransitionTime": changed}
    return [*known, found | ({"message": trouble} if trouble else {})]


def stamp(now: datetime) -> str:
    """A moment as annotations and conditions have it (RFC 3339)."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
