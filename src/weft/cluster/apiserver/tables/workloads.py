"""The columns of what makes pods: deployments and the like, jobs, autoscalers, budgets."""

from datetime import datetime

from weft.cluster.apiserver.tables.ages import age, human_duration, moment
from weft.cluster.apiserver.tables.columns import (
    AGE,
    NAME,
    NONE,
    UNSET,
    Cell,
    Column,
    Object,
    at,
    containers,
    count,
    label_cell,
    look,
    maps,
    selector_cell,
    text,
)

_TEMPLATE = "spec.template.spec"
_SELECTOR = Column("Selector", selector_cell("spec.selector"), wide=True)
_FINISHED = ("Complete", "Failed")
_UNDER_WAY = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


def _ready(obj: Object, _now: datetime) -> str:
    return f"{look(obj, 'status.readyReplicas', 0)}/{look(obj, 'spec.replicas', 1)}"


def _number(name: str, path: str) -> Column:
    return Column(name, at(path, 0), type="integer")


def _conditions(obj: Object) -> set[str]:
    return {str(look(one, "type")) for one in maps(obj, "status.conditions") if look(one, "status") == "True"}


def _job_status(job: Object, _now: datetime) -> str:
    true = _conditions(job)
    if finished := [name for name in _FINISHED if name in true]:
        return finished[0]
    if look(job, "metadata.deletionTimestamp") is not None:
        return "Terminating"
    return next((name for name in _UNDER_WAY if name in true), "Running")


def _completions(job: Object, _now: datetime) -> str:
    done, wanted = look(job, "status.succeeded", 0), look(job, "spec.completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallel = look(job, "spec.parallelism", 0)
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _duration(job: Object, now: datetime) -> str:
    start, end = moment(look(job, "status.startTime")), moment(look(job, "status.completionTime"))
    return human_duration((end or now) - start) if start else ""


def _last_schedule(cron_job: Object, now: datetime) -> str:
    last = look(cron_job, "status.lastScheduleTime")
    return age(last, now) if last else NONE


def _suspend(cron_job: Object, _now: datetime) -> str:
    return str(bool(look(cron_job, "spec.suspend", default=False)))


def _reference(autoscaler: Object, _now: datetime) -> str:
    target = look(autoscaler, "spec.scaleTargetRef", {})
    return f"{look(target, 'kind', '')}/{look(target, 'name', '')}"


def _targets(autoscaler: Object, _now: datetime) -> str:
    current = {look(one, "resource.name"): one for one in maps(autoscaler, "status.currentMetrics")}
    shown = [
        _target(str(name), metric, current.get(name, {}))
        for metric in maps(autoscaler, "spec.metrics")
        if (name := look(metric, "resource.name"))
    ]
    return ", ".join(shown) or NONE


def _target(name: str, metric: Object, current: Object) -> str:
    wanted, measured = look(metric, "resource.target.averageUtilization"), "resource.current.averageUtilization"
    if wanted is not None:
        have = look(current, measured)
        return f"{name}: {'<unknown>' if have is None else f'{have}%'}/{wanted}%"
    value = look(metric, "resource.target.averageValue", "<auto>")
    return f"{name}: {look(current, 'resource.current.averageValue', '<unknown>')}/{value}"


def _or_not_available(path: str) -> Cell:
    return lambda obj, _now: str(look(obj, path, "N/A"))


def _controller(obj: Object, _now: datetime) -> str:
    """The owner in charge: `deployment.apps/web`."""
    for owner in maps(obj, "metadata.ownerReferences"):
        if look(owner, "controller", default=False):
            group = str(look(owner, "apiVersion", "")).rpartition("/")[0]
            kind = str(look(owner, "kind", "")).lower()
            return f"{kind}.{group}/{look(owner, 'name')}" if group else f"{kind}/{look(owner, 'name')}"
    return NONE


DEPLOYMENTS = (
    NAME,
    Column("Ready", _ready),
    _number("Up-to-date", "status.updatedReplicas"),
    _number("Available", "status.availableReplicas"),
    AGE,
    *containers(_TEMPLATE),
    _SELECTOR,
)
REPLICA_SETS = (
    NAME,
    Column("Desired", at("spec.replicas", 1), type="integer"),
    _number("Current", "status.replicas"),
    _number("Ready", "status.readyReplicas"),
    AGE,
    *containers(_TEMPLATE),
    _SELECTOR,
)
REPLICATION_CONTROLLERS = (
    *REPLICA_SETS[:-1],
    Column("Selector", label_cell("spec.selector"), wide=True),
)
SCALES = (NAME, _number("Desired", "spec.replicas"), _number("Available", "status.replicas"), AGE)
STATEFUL_SETS = (NAME, Column("Ready", _ready), AGE, *containers(_TEMPLATE))
DAEMON_SETS = (
    NAME,
    _number("Desired", "status.desiredNumberScheduled"),
    _number("Current", "status.currentNumberScheduled"),
    _number("Ready", "status.numberReady"),
    _number("Up-to-date", "status.updatedNumberScheduled"),
    _number("Available", "status.numberAvailable"),
    Column("Node Selector", label_cell(f"{_TEMPLATE}.nodeSelector")),
    AGE,
    *containers(_TEMPLATE),
    _SELECTOR,
)
JOBS = (
    NAME,
    Column("Status", _job_status),
    Column("Completions", _completions),
    Column("Duration", _duration),
    AGE,
    *containers(_TEMPLATE),
    _SELECTOR,
)
CRON_JOBS = (
    NAME,
    Column("Schedule", at("spec.schedule")),
    Column("Timezone", text("spec.timeZone")),
    Column("Suspend", _suspend),
    Column("Active", count("status.active"), type="integer"),
    Column("Last Schedule", _last_schedule),
    AGE,
    *containers("spec.jobTemplate.spec.template.spec"),
    Column("Selector", selector_cell("spec.jobTemplate.spec.selector"), wide=True),
)
AUTOSCALERS = (
    NAME,
    Column("Reference", _reference),
    Column("Targets", _targets),
    Column("MinPods", lambda obj, _now: str(look(obj, "spec.minReplicas", UNSET))),
    _number("MaxPods", "spec.maxReplicas"),
    _number("Replicas", "status.currentReplicas"),
    AGE,
)
DISRUPTION_BUDGETS = (
    NAME,
    Column("Min Available", _or_not_available("spec.minAvailable")),
    Column("Max Unavailable", _or_not_available("spec.maxUnavailable")),
    _number("Allowed Disruptions", "status.disruptionsAllowed"),
    AGE,
)
CONTROLLER_REVISIONS = (
    NAME,
    Column("Controller", _controller),
    _number("Revision", "revision"),
    AGE,
)
POD_TEMPLATES = (
    NAME,
    Column("Containers", containers("template.spec")[0].cell),
    Column("Images", containers("template.spec")[1].cell),
    Column("Pod Labels", label_cell("template.metadata.labels")),
)
