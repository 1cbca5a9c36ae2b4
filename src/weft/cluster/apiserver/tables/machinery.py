"""The columns of the cluster's own things: nodes, namespaces, configuration, access, storage, events."""

from datetime import datetime, timedelta
from typing import Any

from weft.cluster.apiserver import quantities
from weft.cluster.apiserver.tables.ages import age, human_duration
from weft.cluster.apiserver.tables.columns import (
    AGE,
    CREATED_AT,
    NAME,
    NONE,
    UNSET,
    Cell,
    Column,
    Object,
    at,
    count,
    joined,
    look,
    maps,
    since,
    text,
    texts,
)

_ROLE = "node-role.kubernetes.io/"
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


_WINDOW = Column("Window", at("window"))


def _summed(resource: str) -> Cell:
    """How much of a resource a pod's containers use together."""

    def cell(pod: Object, _now: datetime) -> str:
        used = [str(look(one, f"usage.{resource}", "0")) for one in maps(pod, "containers")]
        return quantities.total(used)

    return cell


def _node_status(node: Object, _now: datetime) -> str:
    ready = [look(one, "status") for one in maps(node, "status.conditions") if look(one, "type") == "Ready"]
    status = {"True": "Ready"}.get(ready[0], "NotReady") if ready else "Unknown"
    return f"{status},SchedulingDisabled" if look(node, "spec.unschedulable", default=False) else status


def _node_roles(node: Object, _now: datetime) -> str:
    labels = look(node, "metadata.labels", {})
    roles = {name.removeprefix(_ROLE) for name in labels if name.startswith(_ROLE)} - {""}
    roles |= {str(labels["kubernetes.io/role"])} if labels.get("kubernetes.io/role") else set()
    return joined(sorted(roles))


def _node_address(kind: str) -> Cell:
    def cell(node: Object, _now: datetime) -> str:
        found = [look(one, "address") for one in maps(node, "status.addresses") if look(one, "type") == kind]
        return str(found[0]) if found else NONE

    return cell


def _info(name: str) -> Cell:
    return text(f"status.nodeInfo.{name}", "<unknown>")


def _subjects(kind: str) -> Cell:
    def cell(binding: Object, _now: datetime) -> str:
        found = (one for one in maps(binding, "subjects") if look(one, "kind") == kind)
        return ", ".join(_subject(one) for one in found)

    return cell


def _subject(subject: Object) -> str:
    namespace = look(subject, "namespace", "")
    return f"{namespace}/{look(subject, 'name')}" if namespace else str(look(subject, "name"))


def _role(binding: Object, _now: datetime) -> str:
    return f"{look(binding, 'roleRef.kind', '')}/{look(binding, 'roleRef.name', '')}"


def _modes(path: str) -> Cell:
    return lambda obj, _now: ",".join(_MODES.get(mode, mode) for mode in texts(obj, path))


def _claim(volume: Object, _now: datetime) -> str:
    claim = look(volume, "spec.claimRef")
    return f"{look(claim, 'namespace', '')}/{look(claim, 'name', '')}" if claim else ""


def _phase(obj: Object, _now: datetime) -> str:
    deleted = look(obj, "metadata.deletionTimestamp") is not None
    return "Terminating" if deleted else str(look(obj, "status.phase", ""))


def _class_name(storage_class: Object, _now: datetime) -> str:
    name = str(look(storage_class, "metadata.name", ""))
    default = look(storage_class, "metadata.annotations", {}).get(_DEFAULT_CLASS) == "true"
    return f"{name} (default)" if default else name


def _quota(side: str) -> Cell:
    def cell(quota: Object, _now: datetime) -> str:
        hard, used = look(quota, "status.hard", {}), look(quota, "status.used", {})
        names = sorted(name for name in hard if name.startswith("limits.") is (side == "limits"))
        return ", ".join(f"{name}: {used.get(name, 0)}/{hard[name]}" for name in names)

    return cell


def _first(event: Object) -> Any:
    return look(event, "firstTimestamp") or look(event, "deprecatedFirstTimestamp") or look(event, "eventTime")


def _last_seen(event: Object, now: datetime) -> str:
    last = look(event, "lastTimestamp") or look(event, "deprecatedLastTimestamp")
    return age(look(event, "series.lastObservedTime") or last or _first(event), now)


def _event_count(event: Object, _now: datetime) -> int:
    found = look(event, "series.count") or look(event, "count") or look(event, "deprecatedCount") or 1
    return int(found)


def _event_object(event: Object, _now: datetime) -> str:
    target = look(event, "involvedObject") or look(event, "regarding", {})
    kind, name = str(look(target, "kind", "")).lower(), look(target, "name", "")
    return f"{kind}/{name}" if name else kind


def _event_source(event: Object, _now: datetime) -> str:
    source = look(event, "source") or look(event, "deprecatedSource", {})
    component = look(source, "component", "") or look(event, "reportingComponent", "")
    component = component or look(event, "reportingController", "")
    instance = look(source, "host", "") or look(event, "reportingInstance", "")
    return f"{component}, {instance}" if instance else str(component)


def _event_message(event: Object, _now: datetime) -> str:
    return str(look(event, "message") or look(event, "note", "")).strip()


def _field_path(event: Object, _now: datetime) -> str:
    return str(look(look(event, "involvedObject") or look(event, "regarding", {}), "fieldPath", ""))


def _request_condition(request: Object, _now: datetime) -> str:
    names = {str(look(one, "type")) for one in maps(request, "status.conditions")}
    issued = ",Issued" if look(request, "status.certificate") else ""
    failed = ",Failed" if "Failed" in names else ""
    verdict = next((name for name in ("Denied", "Approved") if name in names), "Pending")
    return f"{verdict}{failed}{issued}"


def _requested(request: Object, _now: datetime) -> str:
    seconds = look(request, "spec.expirationSeconds")
    return human_duration(timedelta(seconds=seconds)) if seconds else NONE


def _token_requests(driver: Object, _now: datetime) -> str:
    return ",".join(str(look(one, "audience", "")) for one in maps(driver, "spec.tokenRequests")) or UNSET


NAMESPACES = (NAME, Column("Status", _phase), AGE)
NODES = (
    NAME,
    Column("Status", _node_status),
    Column("Roles", _node_roles),
    AGE,
    Column("Version", at("status.nodeInfo.kubeletVersion")),
    Column("Internal-IP", _node_address("InternalIP"), wide=True),
    Column("External-IP", _node_address("ExternalIP"), wide=True),
    Column("OS-Image", _info("osImage"), wide=True),
    Column("Kernel-Version", _info("kernelVersion"), wide=True),
    Column("Container-Runtime", _info("containerRuntimeVersion"), wide=True),
)
CONFIG_MAPS = (NAME, Column("Data", count("data", "binaryData"), type="integer"), AGE)
SECRETS = (NAME, Column("Type", at("type")), Column("Data", count("data"), type="integer"), AGE)
SERVICE_ACCOUNTS = (NAME, Column("Secrets", count("secrets"), type="integer"), AGE)
RESOURCE_QUOTAS = (NAME, Column("Request", _quota("requests")), Column("Limit", _quota("limits")), AGE)
EVENTS = (
    Column("Last Seen", _last_seen),
    Column("Type", at("type")),
    Column("Reason", at("reason")),
    Column("Object", _event_object),
    Column("Subobject", _field_path, wide=True),
    Column("Source", _event_source, wide=True),
    Column("Message", _event_message),
    Column("First Seen", lambda event, now: age(_first(event), now), wide=True),
    Column("Count", _event_count, type="integer", wide=True),
    Column("Name", at("metadata.name"), format="name", wide=True),
)
NODE_METRICS = (NAME, Column("cpu", at("usage.cpu")), Column("memory", at("usage.memory")), _WINDOW)
POD_METRICS = (NAME, Column("cpu", _summed("cpu")), Column("memory", _summed("memory")), _WINDOW)
LEASES = (NAME, Column("Holder", at("spec.holderIdentity")), AGE)


def _param_kind(policy: Object, _now: datetime) -> str:
    kind = look(policy, "spec.paramKind", {})
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET


def _param_ref(binding: Object, _now: datetime) -> str:
    reference = look(binding, "spec.paramRef", {})
    if not reference:
        return UNSET
    name = reference.get("name") or "*"
    return f"{reference['namespace']}/{name}" if reference.get("namespace") else str(name)


VALIDATING_POLICIES = (
    NAME,
    Column("Validations", count("spec.validations"), type="integer"),
    Column("ParamKind", _param_kind),
    AGE,
)
MUTATING_POLICIES = (
    NAME,
    Column("Mutations", count("spec.mutations"), type="integer"),
    Column("ParamKind", _param_kind),
    AGE,
)
POLICY_BINDINGS = (NAME, Column("PolicyName", text("spec.policyName", "")), Column("ParamRef", _param_ref), AGE)
WEBHOOKS = (NAME, Column("Webhooks", count("webhooks"), type="integer"), AGE)
ROLES = (NAME, CREATED_AT)
BINDINGS = (
    NAME,
    Column("Role", _role),
    AGE,
    Column("Users", _subjects("User"), wide=True),
    Column("Groups", _subjects("Group"), wide=True),
    Column("ServiceAccounts", _subjects("ServiceAccount"), wide=True),
)
VOLUMES = (
    NAME,
    Column("Capacity", at("spec.capacity.storage")),
    Column("Access Modes", _modes("spec.accessModes")),
    Column("Reclaim Policy", at("spec.persistentVolumeReclaimPolicy")),
    Column("Status", _phase),
    Column("Claim", _claim),
    Column("StorageClass", at("spec.storageClassName")),
    Column("VolumeAttributesClass", text("spec.volumeAttributesClassName", UNSET)),
    Column("Reason", at("status.reason")),
    AGE,
    Column("VolumeMode", text("spec.volumeMode", UNSET), wide=True),
)
CLAIMS = (
    NAME,
    Column("Status", _phase),
    Column("Volume", at("spec.volumeName")),
    Column("Capacity", at("status.capacity.storage")),
    Column("Access Modes", _modes("status.accessModes")),
    Column("StorageClass", at("spec.storageClassName")),
    Column("VolumeAttributesClass", text("spec.volumeAttributesClassName", UNSET)),
    AGE,
    Column("VolumeMode", text("spec.volumeMode", UNSET), wide=True),
)
STORAGE_CLASSES = (
    Column("Name", _class_name, format="name"),
    Column("Provisioner", at("provisioner")),
    Column("ReclaimPolicy", at("reclaimPolicy", "Delete")),
    Column("VolumeBindingMode", at("volumeBindingMode", "Immediate")),
    Column("AllowVolumeExpansion", at("allowVolumeExpansion", default=False), type="boolean"),
    AGE,
)
VOLUME_ATTACHMENTS = (
    NAME,
    Column("Attacher", at("spec.attacher")),
    Column("PV", at("spec.source.persistentVolumeName")),
    Column("Node", at("spec.nodeName")),
    Column("Attached", at("status.attached", default=False), type="boolean"),
    AGE,
)
CSI_DRIVERS = (
    NAME,
    Column("AttachRequired", at("spec.attachRequired", default=True), type="boolean"),
    Column("PodInfoOnMount", at("spec.podInfoOnMount", default=False), type="boolean"),
    Column("StorageCapacity", at("spec.storageCapacity", default=False), type="boolean"),
    Column("TokenRequests", _token_requests),
    Column("RequiresRepublish", at("spec.requiresRepublish", default=False), type="boolean"),
    Column("Modes", lambda driver, _now: joined(texts(driver, "spec.volumeLifecycleModes") or ["Persistent"])),
    AGE,
)
CSI_NODES = (NAME, Column("Drivers", count("spec.drivers"), type="integer"), AGE)
PRIORITY_CLASSES = (
    NAME,
    Column("Value", at("value", 0), type="integer"),
    Column("Global-Default", at("globalDefault", default=False), type="boolean"),
    AGE,
    Column("PreemptionPolicy", at("preemptionPolicy"), wide=True),
)
RUNTIME_CLASSES = (NAME, Column("Handler", at("handler")), AGE)
SIGNING_REQUESTS = (
    NAME,
    Column("Age", since("metadata.creationTimestamp")),
    Column("SignerName", at("spec.signerName")),
    Column("Requestor", at("spec.username")),
    Column("RequestedDuration", _requested),
    Column("Condition", _request_condition),
)
