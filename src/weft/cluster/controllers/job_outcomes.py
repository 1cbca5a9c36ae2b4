"""How a Job's pods ended, and what that means for the Job."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from weft.adapters.kube.client import Json
from weft.cluster.controllers import job_indexes as indexes
from weft.cluster.controllers.objects import condition, is_finished, is_going, is_ready, moment

_FIRST_PAUSE, _LAST_PAUSE = timedelta(seconds=10), timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Count:
    """A Job's pods by what became of them. `lost` and `completed` are indexes of an Indexed Job."""

    pods: Sequence[Json]
    active: Sequence[Json]
    terminating: Sequence[Json]
    ready: int
    succeeded: int
    failed: int
    completed: frozenset[int]
    lost: frozenset[int]
    fatal: str
    """Why a failed pod ends the whole Job, by its podFailurePolicy; empty if none does."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The condition that a Job is to end with, and why. The condition is empty while it goes on."""

    condition: str = ""
    reason: str = ""
    message: str = ""


def is_over(job: Json) -> bool:
    """Whether a Job has ended, well or not."""
    return any(condition(job, kind).get("status") == "True" for kind in ("Complete", "Failed"))


def counted(job: Json, pods: Sequence[Json]) -> Count:
    """Count the pods. What the status has counted stays counted when somebody deletes finished pods."""
    status = job.get("status", {})
    done = [pod for pod in pods if pod.get("status", {}).get("phase") == "Succeeded"]
    failed: list[Json] = []
    fatal = ""
    for pod in pods:
        if pod.get("status", {}).get("phase") == "Failed":
            action, why = _judged(job, pod)
            if action == "FailJob":
                fatal = fatal or why
            if action != "Ignore":
                failed.append(pod)
    active = [pod for pod in pods if not is_finished(pod) and not is_going(pod)]
    completed = lost = frozenset[int]()
    succeeded = max(len(done), status.get("succeeded") or 0)
    if indexes.is_indexed(job):
        within = set(range(job["spec"]["completions"]))
        seen = {indexes.index_of(pod) for pod in done} | indexes.parse(status.get("completedIndexes") or "")
        completed = frozenset(seen & within)
        succeeded = len(completed)
        lost = frozenset(_lost(job, failed) & within) - completed
    return Count(
        pods=pods,
        active=active,
        terminating=[pod for pod in pods if is_going(pod) and not is_finished(pod)],
        ready=sum(is_ready(pod) for pod in active),
        succeeded=succeeded,
        failed=max(len(failed), status.get("failed") or 0),
        completed=completed,
        lost=lost,
        fatal=fatal,
    )


def _lost(job: Json, failed: Iterable[Json]) -> set[int]:
    limit = job["spec"].get("backoffLimitPerIndex")
    if limit is None:
        return set()
    tries: dict[int, int] = {}
    for pod in failed:
        number = indexes.index_of(pod)
        tries[number] = tries.get(number, 0) + (limit + 1 if _judged(job, pod)[0] == "FailIndex" else 1)
    given_up = {number for number, count in tries.items() if count > limit}
    return given_up | indexes.parse(job.get("status", {}).get("failedIndexes") or "")


def verdict(job: Json, count: Count, now: datetime) -> Verdict:
    """Whether the Job has reached its end, and which."""
    spec = job["spec"]
    for kind, early in (("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")):
        if (held := condition(job, early)).get("status") == "True":
            return Verdict(kind, held["reason"], held["message"])
    if count.fatal:
        return Verdict("Failed", "PodFailurePolicy", count.fatal)
    limit = spec.get("backoffLimit", 6)
    if spec.get("backoffLimitPerIndex") is None and (count.failed > limit or _restarts(job, count) > limit):
        return Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    seconds, started = spec.get("activeDeadlineSeconds"), job.get("status", {}).get("startTime")
    runs = seconds is not None and started and not spec.get("suspend")
    if runs and now - moment(started) >= timedelta(seconds=seconds):
        return Verdict("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    return _by_indexes(job, count) or _by_success(job, count)


def _by_indexes(job: Json, count: Count) -> Verdict | None:
    spec = job["spec"]
    most = spec.get("maxFailedIndexes")
    if most is not None and len(count.lost) > most:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return Verdict("Failed", "MaxFailedIndexesExceeded", message)
    if count.lost and len(count.lost) + len(count.completed) == spec["completions"]:
        return Verdict("Failed", "FailedIndexes", "Job has failed indexes")
    for index, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or ()):
        wanted = indexes.parse(rule["succeededIndexes"]) if rule.get("succeededIndexes") else None
        done = count.completed if wanted is None else count.completed & wanted
        needed = rule.get("succeededCount", len(wanted or ()))
        if needed and len(done) >= needed:
            return Verdict("Complete", "SuccessPolicy", f"Matched rules at index {index}")
    return None


def _by_success(job: Json, count: Count) -> Verdict:
    completions = job["spec"].get("completions")
    everything = bool(count.succeeded) and not count.active  # a work queue is empty once all its pods have ended
    if everything if completions is None else count.succeeded >= completions:
        return Verdict("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    return Verdict()


def _restarts(job: Json, count: Count) -> int:
    """How often containers were restarted in place; with `restartPolicy: OnFailure` that counts as trying."""
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return 0
    times = sum(
        entry.get("restartCount", 0)
        for pod in count.active
        for group in ("initContainerStatuses", "containerStatuses")
        for entry in pod.get("status", {}).get(group) or ()
    )
    # `pastBackoffLimitOnFailure`: reaching the limit is enough, but for a limit of none
    return times + 1 if times else 0


def delay(count: Count, now: datetime) -> timedelta:
    """How long to wait before the next pod: 10 s after a failure, doubled with each one in a row."""
    ends = sorted((end, _has_failed(pod)) for pod in count.pods if (end := _ended(pod)))
    row = 0
    for _, failed in ends:
        row = row + 1 if failed else 0
    if not row:
        return timedelta()
    pause: timedelta = min(_FIRST_PAUSE * int(2 ** min(row - 1, 10)), _LAST_PAUSE)
    return max(timedelta(), ends[-1][0] + pause - now)


def _has_failed(pod: Json) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Failed")


def _ended(pod: Json) -> datetime | None:
    if not is_finished(pod):
        return None
    ends = [
        moment(entry["state"]["terminated"]["finishedAt"])
        for entry in pod["status"].get("containerStatuses") or ()
        if ((entry.get("state") or {}).get("terminated") or {}).get("finishedAt")
    ]
    return max(ends, default=moment(pod["metadata"]["creationTimestamp"]))


def _judged(job: Json, pod: Json) -> tuple[str, str]:
    """What the Job's podFailurePolicy says of a failed pod: an action, and the reason that people read."""
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for index, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        if (codes := rule.get("onExitCodes")) and (found := _exit_code(codes, pod)):
            container, code = found
            message = f"Container {container} for pod {name} failed with exit code {code} matching"
            return rule["action"], f"{message} {rule['action']} rule at index {index}"
        for wanted in rule.get("onPodConditions") or ():
            if condition(pod, wanted["type"]).get("status") == wanted.get("status", "True"):
                message = f"Pod {name} has condition {wanted['type']} matching"
                return rule["action"], f"{message} {rule['action']} rule at index {index}"
    return "Count", ""


def _exit_code(codes: Json, pod: Json) -> tuple[str, int] | None:
    for group in ("initContainerStatuses", "containerStatuses"):
        for entry in pod["status"].get(group) or ():
            ended = (entry.get("state") or {}).get("terminated") or {}
            code = ended.get("exitCode") or 0
            if not code or codes.get("containerName") not in {None, entry["name"]}:
                continue
            if (code in codes["values"]) == (codes["operator"] == "In"):
                return entry["name"], code
    return None
