"""The columns of kinds that are kept for whoever brings what acts on them."""

from datetime import datetime

from weft.cluster.apiserver.tables.columns import (
    AGE,
    NAME,
    NONE,
    Column,
    Object,
    at,
    joined,
    look,
    maps,
    text,
    texts,
)


def _served_by(service: Object, _now: datetime) -> str:
    reference = look(service, "spec.service", {})
    return f"{reference.get('namespace', '')}/{reference.get('name', '')}" if reference else "Local"


def _available(service: Object, _now: datetime) -> str:
    for condition in maps(service, "status.conditions"):
        if look(condition, "type") == "Available":
            status, reason = str(look(condition, "status", "")), look(condition, "reason", "")
            return status if status == "True" else f"{status} ({reason})"
    return "Unknown"


def _missing_level(schema: Object, _now: datetime) -> str:
    found = (one for one in maps(schema, "status.conditions") if look(one, "type") == "Dangling")
    return next((str(look(one, "status", "?")) for one in found), "?")


def _limited(field: str) -> Column:
    title = {"queues": "Queues", "handSize": "HandSize", "queueLengthLimit": "QueueLengthLimit"}[field]
    return Column(title, text(f"spec.limited.limitResponse.queuing.{field}"))


def _parent(address: Object, _now: datetime) -> str:
    parent = look(address, "spec.parentRef", {})
    parts = (str(parent.get(name, "")) for name in ("resource", "namespace", "name"))
    return "/".join(part for part in parts if part)


def _claim_state(claim: Object, _now: datetime) -> str:
    states = ["deleted"] if look(claim, "metadata.deletionTimestamp") else []
    if not look(claim, "status.allocation"):
        return ",".join([*states, "pending"])
    return ",".join([*states, "allocated", *(["reserved"] if maps(claim, "status.reservedFor") else [])])


API_SERVICES = (NAME, Column("Service", _served_by), Column("Available", _available), AGE)
FLOW_SCHEMAS = (
    NAME,
    Column("PriorityLevel", at("spec.priorityLevelConfiguration.name")),
    Column("MatchingPrecedence", at("spec.matchingPrecedence"), type="integer"),
    Column("DistinguisherMethod", text("spec.distinguisherMethod.type")),
    AGE,
    Column("MissingPL", _missing_level),
)
PRIORITY_LEVELS = (
    NAME,
    Column("Type", at("spec.type")),
    Column("NominalConcurrencyShares", text("spec.limited.nominalConcurrencyShares")),
    _limited("queues"),
    _limited("handSize"),
    _limited("queueLengthLimit"),
    AGE,
)
IP_ADDRESSES = (NAME, Column("ParentRef", _parent), AGE)
SERVICE_RANGES = (NAME, Column("CIDRs", lambda given, _now: joined(texts(given, "spec.cidrs"))), AGE)
RESOURCE_CLAIMS = (NAME, Column("State", _claim_state), AGE)
RESOURCE_SLICES = (
    NAME,
    Column("Node", text("spec.nodeName", "<unset>")),
    Column("Driver", at("spec.driver")),
    Column("Pool", at("spec.pool.name")),
    AGE,
)
STORAGE_CAPACITIES = (
    NAME,
    Column("StorageClassName", at("storageClassName")),
    Column("Capacity", text("capacity", NONE)),
)
ATTRIBUTES_CLASSES = (NAME, Column("DriverName", at("driverName")), AGE)
