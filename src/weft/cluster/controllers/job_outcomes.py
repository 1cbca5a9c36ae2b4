"""How a Job's pods ended, and what that means for the Job."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from weft.adapters.kube.client import Json
from weft.cluster.controllers import job_indexes as indexes
from weft.cluster.controllers.job_tracking import Book, book, has_failed, has_succeeded, is_tracked
from weft.cluster.controllers.objects import condition, is_finished, is_going, is_ready, moment
from weft.cluster.controllers.pods import is_active

_FIRST_PAUSE, _LAST_PAUSE = timedelta(seconds=10), timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Count:
    """A Job's pods by what became of them. `lost` and `completed` are indexes of an Indexed Job."""

    pods: Sequence[Json]
    active: Sequence[Json]
    terminating: Sequence[Json]
    ended: Sequence[Json]
    """The pods that count as failed or have succeeded, as far as they are still there."""
    ready: int
    succeeded: int
    failed: int
    completed: frozenset[int]
    lost: frozenset[int]
    tries: Mapping[int, int]
    """How often each index has failed, where that is counted by index."""
    fatal: str
    """Why a failed pod ends the whole Job, by its podFailurePolicy; empty if none does."""
    book: Book


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
    """Count the pods, with those that the status has counted already."""
    status, by_index = job.get("status", {}), job["spec"].get("backoffLimitPerIndex") is not None
    failed = [pod for pod in pods if has_failed(job, pod)]
    judged = {pod["metadata"]["uid"]: _judged(job, pod) for pod in failed}
    tries = _tries(failed, judged) if by_index else {}
    completed = lost = frozenset[int]()
    if indexes.is_indexed(job):
        done = {indexes.index_of(pod) for pod in pods if has_succeeded(pod) and is_tracked(pod)}
        done |= indexes.parse(status.get("completedIndexes") or "")
        completed = frozenset(number for number in done if indexes.is_within(job, number))
    if by_index:
        given_up = {number for number, times in tries.items() if times > job["spec"]["backoffLimitPerIndex"]}
        given_up |= {indexes.index_of(pod) for pod in failed if judged[pod["metadata"]["uid"]][0] == "FailIndex"}
        given_up |= indexes.parse(status.get("failedIndexes") or "")
        lost = frozenset(number for number in given_up if indexes.is_within(job, number)) - completed
    written_off = indexes.parse(status.get("failedIndexes") or "")

    def counts(pod: Json) -> bool:
        return judged[pod["metadata"]["uid"]][0] != "Ignore"

    def lasts(pod: Json) -> bool:
        number = indexes.index_of(pod)
        later = any(indexes.index_of(each) == number and _is_later(each, pod) for each in pods)
        return by_index and number not in written_off and not later

    kept = book(job, pods, counts, lasts)
    active = [pod for pod in pods if is_active(pod)]
    return Count(
        pods=pods,
        active=active,
        terminating=[pod for pod in pods if is_going(pod) and not is_finished(pod)],
        ended=[pod for pod in pods if has_succeeded(pod) or has_failed(job, pod)],
        ready=sum(is_ready(pod) for pod in active),
        succeeded=len(completed) if indexes.is_indexed(job) else kept.succeeded + len(kept.new_succeeded),
        failed=kept.failed + len(kept.new_failed),
        completed=completed,
        lost=lost,
        tries=tries,
        fatal=next((why for action, why in judged.values() if action == "FailJob"), ""),
        book=kept,
    )


def _tries(failed: Iterable[Json], judged: Mapping[str, tuple[str, str]]) -> dict[int, int]:
    """How often each index has failed: each pod says how often it had before it."""
    tries: dict[int, int] = {}
    for pod in failed:
        number, ignored = indexes.index_of(pod), judged[pod["metadata"]["uid"]][0] == "Ignore"
        tries[number] = max(tries.get(number, 0), indexes.failures(pod) + (not ignored))
    return tries


def _is_later(one: Json, other: Json) -> bool:
    def rank(pod: Json) -> tuple[int, str, int]:
        meta = pod["metadata"]
        return indexes.failures(pod), meta["creationTimestamp"], int(meta.get("resourceVersion") or 0)

    return one["metadata"]["uid"] != other["metadata"]["uid"] and rank(one) > rank(other)


def verdict(job: Json, count: Count, now: datetime) -> Verdict:
    """Whether the Job has reached its end, and which."""
    spec = job["spec"]
    for kind, early in (("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")):
        if (held := condition(job, early)).get("status") == "True":
            return Verdict(kind, held["reason"], held["message"])
    if count.fatal:
        return Verdict("Failed", "PodFailurePolicy", count.fatal)
    limit = spec.get("backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else 2**31 - 1)
    if count.failed > limit or _restarts(job, count) > limit:
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


Ends = Mapping[str, tuple[datetime, bool]]
"""When pods ended, and whether they failed, by uid."""


def ends(count: Count) -> Ends:
    """The ends of the pods that are still there."""
    return {pod["metadata"]["uid"]: (_ended(pod), not has_succeeded(pod)) for pod in count.ended}


def delay(known: Ends, now: datetime) -> timedelta:
    """How long to wait before the next pod: 10 s after a failure, doubled with each one in a row."""
    row, last = 0, now
    for end, failed in sorted(known.values()):
        row, last = (row + 1 if failed else 0), end
    return _pause(row, last, now)


def delay_of_index(count: Count, number: int, now: datetime) -> timedelta:
    """How long to wait before the next pod of an index whose failures count by themselves."""
    last = [_ended(pod) for pod in count.ended if indexes.index_of(pod) == number]
    return _pause(count.tries.get(number, 0), max(last, default=now), now) if last else timedelta()


def _pause(row: int, last: datetime, now: datetime) -> timedelta:
    if not row:
        return timedelta()
    pause: timedelta = min(_FIRST_PAUSE * int(2 ** min(row - 1, 10)), _LAST_PAUSE)
    return max(timedelta(), last + pause - now)


def _ended(pod: Json) -> datetime:
    ends = [
        moment(entry["state"]["terminated"]["finishedAt"])
        for entry in pod.get("status", {}).get("containerStatuses") or ()
        if ((entry.get("state") or {}).get("terminated") or {}).get("finishedAt")
    ]
    if ends:
        return max(ends)
    meta = pod["metadata"]
    if not meta.get("deletionTimestamp"):
        return moment(meta["creationTimestamp"])
    # the timestamp is when it will be gone at last
    return moment(meta["deletionTimestamp"]) - timedelta(seconds=meta.get("deletionGracePeriodSeconds") or 0)


def _judged(job: Json, pod: Json) -> tuple[str, str]:
    """What the Job's podFailurePolicy says of a failed pod: an action, and the reason that people read."""
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    if pod.get("status", {}).get("phase") != "Failed":
        return "Count", ""  # it is going, and nobody knows yet how it ends
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
