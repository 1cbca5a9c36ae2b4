"""How a Job counts each finished pod exactly once, though pods may be deleted at any time.

A pod keeps the tracking finalizer until its end is in the Job's status: first as a uid among
uncountedTerminatedPods (or as a completed index); then the finalizer goes; then the uid becomes a number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import PODS
from weft.cluster.controllers import job_indexes as indexes
from weft.cluster.controllers.changes import Change, Patch
from weft.cluster.controllers.objects import condition, is_going

FINALIZER = "batch.kubernetes.io/job-tracking"


@dataclass(frozen=True, slots=True)
class Book:
    """What is counted for good, the uids that are on their way there, and the pods that may lose the finalizer."""

    succeeded: int
    failed: int
    new_succeeded: Sequence[str]
    new_failed: Sequence[str]
    settled: Sequence[Json]

    @property
    def uncounted(self) -> Json:
        """The status field."""
        return {"succeeded": list(self.new_succeeded) or None, "failed": list(self.new_failed) or None}

    @property
    def is_settled(self) -> bool:
        """Whether nothing is on its way."""
        return not (self.new_succeeded or self.new_failed or self.settled)


def is_tracked(pod: Json) -> bool:
    """Whether a pod's end is still to be counted."""
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def untracked(pod: Json) -> Change:
    """Take the finalizer from a pod."""
    meta = pod["metadata"]
    rest = [name for name in meta["finalizers"] if name != FINALIZER]
    return Patch(PODS, pod, {"metadata": {"finalizers": rest or None, "uid": meta["uid"]}})


def only_failed(job: Json) -> bool:
    """Whether a pod is replaced only once it has failed, and not as soon as it is going."""
    default = "Failed" if job["spec"].get("podFailurePolicy") else "TerminatingOrFailed"
    return bool((job["spec"].get("podReplacementPolicy") or default) == "Failed")


def is_ending(job: Json) -> bool:
    """Whether the outcome is known, so that pods are no longer waited for."""
    return any(condition(job, kind).get("status") == "True" for kind in ("FailureTarget", "SuccessCriteriaMet"))


def has_succeeded(pod: Json) -> bool:
    """Whether a pod ran to its end well."""
    return bool(pod.get("status", {}).get("phase") == "Succeeded")


def has_failed(job: Json, pod: Json) -> bool:
    """Whether a pod counts as failed: also one that is going, which may never come to say so."""
    if pod.get("status", {}).get("phase") == "Failed":
        return True
    failing = condition(job, "FailureTarget").get("status") == "True"
    return is_going(pod) and not has_succeeded(pod) and (failing or not only_failed(job))


def book(job: Json, pods: Sequence[Json], counts: Callable[[Json], bool], lasts: Callable[[Json], bool]) -> Book:
    """Bring the Job's count up to date.

    `counts` tells whether a failed pod counts against the Job; `lasts` whether it has to be kept for what its
    annotations tell.
    """
    status = job.get("status", {})
    held = status.get("uncountedTerminatedPods") or {}
    known = {name: list(held.get(name) or ()) for name in ("succeeded", "failed")}
    tracked = {pod["metadata"]["uid"]: pod for pod in pods if is_tracked(pod)}
    fresh = {name: [uid for uid in uids if uid in tracked] for name, uids in known.items()}
    totals = {name: (status.get(name) or 0) + len(known[name]) - len(fresh[name]) for name in known}
    completed = indexes.parse(status.get("completedIndexes") or "")
    settled: list[Json] = []
    for uid, pod in tracked.items():
        numbered = not indexes.is_indexed(job) or indexes.is_within(job, indexes.index_of(pod))
        if has_succeeded(pod) and uid not in known["failed"]:
            if indexes.is_indexed(job):
                written = not numbered or indexes.index_of(pod) in completed
            else:
                written = uid in known["succeeded"]
                fresh["succeeded"] += [] if written else [uid]
        elif has_failed(job, pod) and condition(job, "SuccessCriteriaMet").get("status") != "True":
            written = uid in known["failed"] or not numbered or not counts(pod)
            fresh["failed"] += [] if written else [uid]
            written = written and (not lasts(pod) or is_ending(job))
        else:
            written = is_ending(job) and is_going(pod)
        settled += [pod] if written else []
    return Book(totals["succeeded"], totals["failed"], fresh["succeeded"], fresh["failed"], settled)
