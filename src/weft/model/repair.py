"""Pods of the mesh whose traffic is not captured: how that shows in a pod, and what is done about it.

The signs are those of Istio's repair: init container `istio-validation` finds out, and ends with exit code 126.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from weft.model.enrolment import STATUS, VALIDATION

Pod = Mapping[str, Any]
"""A Pod as the API server writes it."""

Action = Literal["repair", "delete", "label", "tell"]
"""Its traffic is captured where it runs; it is deleted; it is labelled; or an event tells of it, no more."""

_ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Choice:
    """What an operator wants done; the first that is on counts, in this order."""

    repair: bool = False
    delete: bool = False
    label: bool = False

    @property
    def action(self) -> Action:
        """What is done with a pod that is not captured."""
        chosen: tuple[tuple[bool, Action], ...] = (
            (self.repair, "repair"),
            (self.delete, "delete"),
            (self.label, "label"),
        )
        return next((action for on, action in chosen if on), "tell")


@dataclass(frozen=True, slots=True)
class Signs:
    """What shows that a pod is not captured. An empty text, or exit code 0, means any."""

    annotation: str = STATUS
    init_container: str = VALIDATION
    exit_code: int = 126
    message: str = ""


def left_alone(pod: Pod, signs: Signs) -> str:
    """Why nothing is done about a pod, whatever it looks like; "" where something may be."""
    metadata, status = pod.get("metadata") or {}, pod.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "it is being deleted"
    if status.get("phase") in _ENDED:
        return "it has ended"
    if signs.annotation and signs.annotation not in (metadata.get("annotations") or {}):
        return f"it has no annotation {signs.annotation}"
    return ""


def failure(pod: Pod, signs: Signs) -> Mapping[str, Any] | None:
    """How the init container that validates ended (ContainerStateTerminated), if it last ended with these signs.

    One that has succeeded since, in whatever way, is no sign any more.
    """
    for status in _statuses(pod, "initContainerStatuses"):
        if signs.init_container not in {"", status.get("name")}:
            continue
        now: Mapping[str, Any] | None = (status.get("state") or {}).get("terminated")
        last: Mapping[str, Any] | None = (status.get("lastState") or {}).get("terminated")
        ended = now or last
        if ended is not None and _matches(ended, signs):
            return ended
    return None


def sandbox(pod: Pod) -> str:
    """What tells one sandbox of a pod from the next: the first container that it ran. "" before there is one.

    Init containers run anew in each sandbox, the first of them first. Where it is `istio-validation`, as in
    injected pods, each failure of it counts as a sandbox of its own.
    """
    statuses = (*_statuses(pod, "initContainerStatuses"), *_statuses(pod, "containerStatuses"))
    return next((str(each.get("containerID") or "") for each in statuses), "")


def is_running(pod: Pod) -> bool:
    """Whether an application of the pod may have run: it is past its init containers."""
    states = (each.get("state") or {} for each in _statuses(pod, "containerStatuses"))
    return any("running" in state or "terminated" in state for state in states)


def _matches(ended: Mapping[str, Any], signs: Signs) -> bool:
    code = ended.get("exitCode", 0)
    if code == 0 or signs.exit_code not in {0, code}:
        return False
    return not signs.message or str(ended.get("message") or "").strip() == signs.message.strip()


def _statuses(pod: Pod, key: str) -> Iterator[Mapping[str, Any]]:
    yield from (pod.get("status") or {}).get(key) or ()
