"""CronJobs: a Job at each scheduled time, and the history of those that ended."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from weft.adapters.kube.client import ApiError, Json
from weft.adapters.kube.kinds import CRONJOBS, JOBS, Kind
from weft.cluster import schedule
from weft.cluster.controllers.changes import Change, Create, Delete, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import (
    Key,
    condition,
    differs,
    is_going,
    key_of,
    moment,
    owned_by,
    owner_key,
    owner_reference,
    timestamp,
)

_SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_INSTANTIATED = "cronjob.kubernetes.io/instantiate"  # by hand, as `kubectl create job --from` says
_MANY = 100  # missed times after which nobody counts on
_EARLIEST = timedelta(milliseconds=100)  # the timer must not ring before the second


class CronJobs(Controller):
    """Starts a Job when its time has come, unless a deadline or the one before stands against it."""

    name = "cronjob-controller"
    watches: tuple[Kind, ...] = (CRONJOBS, JOBS)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:  # noqa: ARG002, the owner is in the Job
        """A CronJob, or the one that owns a Job."""
        return [key_of(obj)] if kind == CRONJOBS else owner_key(obj, CRONJOBS)

    def plan(self, key: Key, world: World) -> Plan:
        """Start what is due, forget old Jobs, and say in the status what runs."""
        cron = world.of(CRONJOBS).get(key)
        if cron is None or is_going(cron):
            return Plan()
        jobs = owned_by(cron, world.of(JOBS).dependents(cron["metadata"]["uid"]))
        jobs = [job for job in jobs if not is_going(job)]
        running = [job for job in jobs if not _ended(job)]
        ours = [job for job in running if _INSTANTIATED not in (job["metadata"].get("annotations") or {})]
        changes = [*self._forget(cron, jobs), *self._saw(cron, jobs)]
        for job in running:
            if job not in ours:
                message = f"Saw a job that the controller did not create or forgot: {job['metadata']['name']}"
                changes.append(self._warn(cron, "UnexpectedJob", message))
        status = _status(cron, jobs, ours)
        again: timedelta | None = None
        if not cron["spec"].get("suspend"):
            work, last, again = self._start(cron, ours, world)
            changes += work
            if last:
                status["lastScheduleTime"] = timestamp(last)
        if differs(cron.get("status", {}), status):
            changes.append(Patch(CRONJOBS, cron, {"status": status}, "status"))
        return Plan(changes, again)

    def refused(self, key: Key, error: ApiError, world: World) -> Plan:
        """A Job that the API refuses is told on the CronJob."""
        cron = world.of(CRONJOBS).get(key)
        if cron is None:
            return Plan()
        return Plan(
            [Tell(cron, CRONJOBS, "FailedCreate", f"Error creating job: {error.message}", self.name, warning=True)]
        )

    def _start(
        self, cron: Json, running: Sequence[Json], world: World
    ) -> tuple[list[Change], datetime | None, timedelta | None]:
        """What to do now, the time that it is for, and when to look again."""
        spec = cron["spec"]
        try:
            times = schedule.parse(spec["schedule"], spec.get("timeZone") or "")
        except schedule.ScheduleError as error:
            message = f"unparseable schedule: {spec['schedule']} : {error}"
            return [self._warn(cron, "UnparseableSchedule", message)], None, None
        due, missed = _due(cron, times, world.now)
        upcoming = times.after(world.now)
        again = upcoming - world.now + _EARLIEST if upcoming else None
        if due is None:
            return [], None, again
        changes: list[Change] = []
        if missed > _MANY:
            message = (
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            )
            changes.append(self._warn(cron, "TooManyMissedTimes", message))
        policy = spec.get("concurrencyPolicy", "Allow")
        if policy == "Forbid" and running:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            # it starts as soon as the one before it has ended
            if _fresh(due, world):
                changes.append(Tell(cron, CRONJOBS, "JobAlreadyActive", message, self.name))
            return changes, None, again
        if policy == "Replace":
            changes += [change for job in running for change in self._delete(cron, job)]
        job = _job(cron, due)
        born = Tell(cron, CRONJOBS, "SuccessfulCreate", "Created job {name}", self.name)
        return [*changes, Create(JOBS, job, born)], due, again

    def _forget(self, cron: Json, jobs: Sequence[Json]) -> list[Change]:
        changes: list[Change] = []
        for kind, name, default in (
            ("Complete", "successfulJobsHistoryLimit", 3),
            ("Failed", "failedJobsHistoryLimit", 1),
        ):
            keep = cron["spec"].get(name)
            ended = [job for job in jobs if _ended(job) == kind]
            ended.sort(key=lambda job: str(job.get("status", {}).get("startTime") or ""))
            surplus = ended[: max(0, len(ended) - (default if keep is None else keep))]
            changes += [change for job in surplus for change in self._delete(cron, job)]
        return changes

    def _saw(self, cron: Json, jobs: Sequence[Json]) -> list[Change]:
        """Tell of Jobs that the status still calls running and that have ended."""
        active = {entry["uid"] for entry in cron.get("status", {}).get("active") or ()}
        return [
            Tell(
                cron,
                CRONJOBS,
                "SawCompletedJob",
                f"Saw completed job: {job['metadata']['name']}, condition: {_ended(job)}",
                self.name,
            )
            for job in jobs
            if _ended(job) and job["metadata"]["uid"] in active
        ]

    def _delete(self, cron: Json, job: Json) -> list[Change]:
        message = f"Deleted job {job['metadata']['name']}"
        return [Delete(JOBS, job), Tell(cron, CRONJOBS, "SuccessfulDelete", message, self.name)]

    def _warn(self, cron: Json, reason: str, message: str) -> Change:
        return Tell(cron, CRONJOBS, reason, message, self.name, warning=True)


def _fresh(due: datetime, world: World) -> bool:
    return world.now - due < timedelta(seconds=5)


def _due(cron: Json, times: schedule.Schedule, now: datetime) -> tuple[datetime | None, int]:
    """The latest time that has come since the last run, and how many have."""
    last = cron.get("status", {}).get("lastScheduleTime") or cron["metadata"]["creationTimestamp"]
    begin = moment(last)
    limit = cron["spec"].get("startingDeadlineSeconds")
    if limit is not None:
        begin = max(begin, now - timedelta(seconds=limit))
    found: datetime | None = None
    count = 0
    while (next_time := times.after(begin)) is not None and next_time <= now:
        found, begin, count = next_time, next_time, count + 1
        if count > _MANY:
            return _latest(times, now) or found, count  # far behind: only the last one matters
    return found, count


def _latest(times: schedule.Schedule, now: datetime) -> datetime | None:
    for back in (timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=366)):
        found, probe = None, times.after(now - back)
        while probe is not None and probe <= now:
            found, probe = probe, times.after(probe)
        if found:
            return found
    return None


def _job(cron: Json, due: datetime) -> Json:
    template, meta = cron["spec"]["jobTemplate"], cron["metadata"]
    given = template.get("metadata") or {}
    zone = schedule.parse(cron["spec"]["schedule"], cron["spec"].get("timeZone") or "").zone
    when = due.astimezone(zone).isoformat().replace("+00:00", "Z")
    return {
        "metadata": {
            "name": f"{meta['name']}-{int(due.timestamp()) // 60}",
            "namespace": meta["namespace"],
            "labels": given.get("labels") or {},
            "annotations": (given.get("annotations") or {}) | {_SCHEDULED: when},
            "ownerReferences": [owner_reference(CRONJOBS, cron)],
        },
        "spec": template["spec"],
    }


def _ended(job: Json) -> str:
    """The condition with which a Job ended, or nothing."""
    return next(
        (kind for kind in ("Complete", "Failed") if condition(job, kind).get("status") == "True"),
        "",
    )


def _status(cron: Json, jobs: Sequence[Json], running: Sequence[Json]) -> Json:
    held = cron.get("status", {})
    ends = [str(job["status"].get("completionTime") or "") for job in jobs if _ended(job) == "Complete"]
    active = [
        {
            "apiVersion": JOBS.api_version,
            "kind": JOBS.kind,
            "name": job["metadata"]["name"],
            "namespace": job["metadata"]["namespace"],
            "uid": job["metadata"]["uid"],
        }
        for job in running
    ]
    return {
        "active": active or None,
        "lastScheduleTime": held.get("lastScheduleTime"),
        "lastSuccessfulTime": max([held.get("lastSuccessfulTime") or "", *ends]) or None,
    }
