"""Jobs: pods that run to their end, as often as asked for and not for ever."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from weft.adapters.kube.client import ApiError, Json
from weft.adapters.kube.kinds import JOBS, PODS, Kind
from weft.cluster.controllers import job_indexes as indexes
from weft.cluster.controllers.changes import Change, Create, Delete, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.job_outcomes import (
    Count,
    Ends,
    Verdict,
    counted,
    delay,
    delay_of_index,
    ends,
    is_over,
    verdict,
)
from weft.cluster.controllers.job_tracking import FINALIZER, is_tracked, only_failed, untracked
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import (
    Key,
    differs,
    is_going,
    key_of,
    moment,
    owner_of,
    timestamp,
    with_condition,
)
from weft.cluster.controllers.pods import from_template, least_useful, soonest

_MANAGER = "kubernetes.io/job-controller"
_REMEMBERED = 20  # ends of pods: more failures in a row do not make the pause longer
_LEAST = timedelta(milliseconds=1)


class Jobs(Controller):
    """Creates a Job's pods, counts how they end, and says when the Job has."""

    name = "job-controller"
    watches: tuple[Kind, ...] = (JOBS, PODS)

    def __init__(self) -> None:
        # pods that ended may be gone before their successors are due
        self._ends: dict[Key, dict[str, tuple[datetime, bool]]] = {}

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A Job, or the one that owns a pod; `/` and its name for a tracked pod whose Job is gone."""
        namespace = obj["metadata"]["namespace"]
        if kind == JOBS:
            uid = obj["metadata"]["uid"]
            if world.of(JOBS).with_uid(uid):
                return [key_of(obj)]
            left = world.of(PODS).dependents(uid)
            return [key_of(obj), *((namespace, f"/{pod['metadata']['name']}") for pod in left)]
        owner = owner_of(obj)
        owned = [(namespace, owner["name"])] if owner and owner["kind"] == "Job" else []
        return [*owned, (namespace, f"/{obj['metadata']['name']}")] if _is_orphan(obj, world) else owned

    def plan(self, key: Key, world: World) -> Plan:
        """Start or stop pods, and say in the status how it stands."""
        if key[1].startswith("/"):
            orphan = world.of(PODS).get((key[0], key[1][1:]))
            return Plan([untracked(orphan)] if orphan and _is_orphan(orphan, world) else ())
        job = world.of(JOBS).get(key)
        if job is None or is_over(job):
            self._ends.pop(key, None)
        if job is None or job["spec"].get("managedBy", _MANAGER) != _MANAGER:
            return Plan()
        pods = [pod for pod in world.of(PODS).dependents(job["metadata"]["uid"]) if owner_of(pod)]
        if is_going(job) or is_over(job):
            freed = [untracked(pod) for pod in pods if is_tracked(pod)]
            expiry = Plan() if is_going(job) else _expire(job, world)
            return Plan([*freed, *expiry.changes], expiry.again)
        count = counted(job, pods)
        end = verdict(job, count, world.now)
        suspended = bool(job["spec"].get("suspend"))
        changes: list[Change] = [untracked(pod) for pod in count.book.settled]
        wait: timedelta | None = None
        if end.condition:
            changes += self._delete(job, count.active)
        elif suspended:
            changes += self._stop(job, count.active)
        else:
            work, wait = self._work(job, count, world)
            changes += work
        status = self._status(job, count, end, world)
        if differs(job.get("status", {}), status):
            changes.append(Patch(JOBS, job, {"status": status}, "status"))
            changes += self._told(job, status, end)
        return Plan(changes, soonest([wait, None if end.condition else _deadline(job, world)]))

    def refused(self, key: Key, error: ApiError, world: World) -> Plan:
        """A pod that the API refuses is told on the Job."""
        job = world.of(JOBS).get(key)
        if job is None:
            return Plan()
        return Plan([Tell(job, JOBS, "FailedCreate", f"Error creating: {error.message}", self.name, warning=True)])

    def _work(self, job: Json, count: Count, world: World) -> tuple[list[Change], timedelta | None]:
        spec = job["spec"]
        parallel, completions = spec.get("parallelism", 1), spec.get("completions")
        if completions is None:  # a work queue: the first success ends it, once all pods have
            wanted = len(count.active) if count.succeeded else parallel
        else:
            wanted = min(parallel, completions - count.succeeded)
        doomed = indexes.surplus(job, count.active) if indexes.is_indexed(job) else []
        rest = [pod for pod in count.active if pod not in doomed]
        doomed += least_useful(rest, world.now)[: max(0, len(rest) - max(0, wanted))]
        if doomed:
            return self._stop(job, doomed), None
        held = list(count.active) + (list(count.terminating) if only_failed(job) else [])
        if wanted <= len(held):
            return [], None
        if indexes.is_indexed(job):
            return self._number(job, count, held, wanted - len(held), world)
        pause = delay(self._remembered(job, count), world.now)
        if pause > timedelta():
            return [], pause
        return [
            self._create(job, from_template(spec["template"], JOBS, job)) for _ in range(wanted - len(held))
        ], None

    def _number(
        self, job: Json, count: Count, held: Sequence[Json], missing: int, world: World
    ) -> tuple[list[Change], timedelta | None]:
        """Pods for the first free indexes that need not wait after a failure."""
        by_index = job["spec"].get("backoffLimitPerIndex") is not None
        changes: list[Change] = []
        waits: list[timedelta] = []
        common = delay(self._remembered(job, count), world.now)
        for number in indexes.free(job, held, count.completed | count.lost):
            pause = delay_of_index(count, number, world.now) if by_index else common
            if pause > timedelta():
                waits.append(pause)
            elif len(changes) < missing:
                failed = count.tries.get(number, 0) if by_index else None
                changes.append(self._create(job, indexes.pod(job, number, failed)))
        return changes, soonest(waits)

    def _remembered(self, job: Json, count: Count) -> Ends:
        known = self._ends.setdefault(key_of(job), {})
        known |= {uid: end for uid, end in ends(count).items() if uid not in known}
        for uid in sorted(known, key=lambda each: known[each])[:-_REMEMBERED]:
            del known[uid]
        return known

    def _create(self, job: Json, pod: Json) -> Change:
        finalizers = [*(pod["metadata"].get("finalizers") or ()), FINALIZER]
        pod["metadata"]["finalizers"] = finalizers
        return Create(PODS, pod, Tell(job, JOBS, "SuccessfulCreate", "Created pod: {name}", self.name))

    def _stop(self, job: Json, pods: Sequence[Json]) -> list[Change]:
        """Take pods away that did nothing wrong: without the finalizer they do not count as failed."""
        tracked: list[Change] = [untracked(pod) for pod in pods if is_tracked(pod)]
        return [*tracked, *self._delete(job, [pod for pod in pods if not is_tracked(pod)])]

    def _delete(self, job: Json, pods: Sequence[Json]) -> list[Change]:
        return [
            change
            for pod in pods
            for change in (
                Delete(PODS, pod),
                Tell(job, JOBS, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}", self.name),
            )
        ]

    def _status(self, job: Json, count: Count, end: Verdict, world: World) -> Json:
        held = job.get("status", {})
        suspended = bool(job["spec"].get("suspend"))
        conditions: list[Json] = held.get("conditions") or []
        status: Json = {
            "active": (0 if end.condition or suspended else len(count.active)) or None,
            "ready": 0 if end.condition else count.ready,
            "succeeded": (count.succeeded if indexes.is_indexed(job) else count.book.succeeded) or None,
            "failed": count.book.failed or None,
            "terminating": len(count.terminating),
            "uncountedTerminatedPods": count.book.uncounted,
        }
        if indexes.is_indexed(job):
            status["completedIndexes"] = indexes.text(count.completed) or None
            if job["spec"].get("backoffLimitPerIndex") is not None:
                status["failedIndexes"] = indexes.text(count.lost)
        if suspended:
            status["startTime"] = None
            conditions = _with(conditions, "Suspended", "True", "JobSuspended", "Job suspended", world)
        else:
            status["startTime"] = held.get("startTime") or timestamp(world.now)
            if any(entry["type"] == "Suspended" for entry in conditions):
                conditions = _with(conditions, "Suspended", "False", "JobResumed", "Job resumed", world)
        if end.condition:
            # the outcome is known at once, the Job ends when its last pod has
            early = "SuccessCriteriaMet" if end.condition == "Complete" else "FailureTarget"
            conditions = _with(conditions, early, "True", end.reason, end.message, world)
            if not count.active and not count.terminating and count.book.is_settled:
                conditions = _with(conditions, end.condition, "True", end.reason, end.message, world)
                if end.condition == "Complete":
                    status["completionTime"] = timestamp(world.now)
        return status | ({"conditions": conditions} if conditions else {})

    def _told(self, job: Json, status: Json, end: Verdict) -> list[Change]:
        def state(conditions: Iterable[Json] | None) -> dict[str, str]:
            return {entry["type"]: entry["status"] for entry in conditions or ()}

        before, now = state(job.get("status", {}).get("conditions")), state(status.get("conditions"))
        told: list[Change] = []
        if now.get("Complete") and not before.get("Complete"):
            told.append(Tell(job, JOBS, "Completed", "Job completed", self.name))
        if now.get("Failed") and not before.get("Failed"):
            told.append(Tell(job, JOBS, end.reason, end.message, self.name, warning=True))
        if now.get("Suspended") != before.get("Suspended"):
            resumed = now.get("Suspended") == "False"
            told.append(
                Tell(
                    job,
                    JOBS,
                    "Resumed" if resumed else "Suspended",
                    "Job resumed" if resumed else "Job suspended",
                    self.name,
                )
            )
        return told


def _is_orphan(pod: Json, world: World) -> bool:
    """Whether nobody is left to count a pod."""
    owner = owner_of(pod)
    counted_by = owner and (owner["kind"] != "Job" or world.of(JOBS).with_uid(owner["uid"]))
    return is_tracked(pod) and not counted_by


def _with(
    conditions: Sequence[Json], kind: str, status: str, reason: str, message: str, world: World
) -> list[Json]:
    old = next((entry for entry in conditions if entry["type"] == kind), {})
    if old.get("status") == status:
        return list(conditions)
    new = {"type": kind, "status": status, "reason": reason, "message": message}
    entries = with_condition(conditions, new | {"lastProbeTime": timestamp(world.now)}, world.now)
    return [{key: value for key, value in entry.items() if key != "lastUpdateTime"} for entry in entries]


def _deadline(job: Json, world: World) -> timedelta | None:
    limit, started = job["spec"].get("activeDeadlineSeconds"), job.get("status", {}).get("startTime")
    if limit is None or job["spec"].get("suspend"):
        return None
    begun = moment(started) if started else world.now
    return max(_LEAST, begun + timedelta(seconds=limit) - world.now)


def _expire(job: Json, world: World) -> Plan:
    """Delete a Job that ended longer ago than it wants to be kept."""
    keep = job["spec"].get("ttlSecondsAfterFinished")
    if keep is None:
        return Plan()
    ended = next(
        moment(entry["lastTransitionTime"])
        for entry in job["status"]["conditions"]
        if entry["type"] in {"Complete", "Failed"} and entry["status"] == "True"
    )
    left = ended + timedelta(seconds=keep) - world.now
    if left > timedelta():
        return Plan((), left)
    return Plan([Delete(JOBS, job, "Foreground")])
