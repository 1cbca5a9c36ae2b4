"""The indexes of an Indexed Job: which are done, which are free, and the pod of each."""

from collections.abc import Iterable

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import JOBS
from weft.cluster.controllers.pods import from_template

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
_VARIABLE = "JOB_COMPLETION_INDEX"


def is_indexed(job: Json) -> bool:
    """Whether each completion of the Job has a number."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def index_of(pod: Json) -> int:
    """The index that a pod works on; -1 if it says none."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdecimal() else -1


def parse(text: str) -> set[int]:
    """The numbers that a text such as `0-2,5` names."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def text(numbers: Iterable[int]) -> str:
    """The shortest text that names these numbers, such as `0-2,5`; two neighbours are written `3,4`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts: list[str] = []
    for run in runs:
        parts += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(number) for number in run]
    return ",".join(parts)


def is_within(job: Json, number: int) -> bool:
    """Whether the Job has that index."""
    return 0 <= number < int(job["spec"]["completions"])


def surplus(job: Json, active: Iterable[Json]) -> list[Json]:
    """The active pods whose index the Job has no more, and all but one of each index."""
    seen: set[int] = set()
    found: list[Json] = []
    for each in active:
        number = index_of(each)
        if number in seen or not is_within(job, number):
            found.append(each)
        seen.add(number)
    return found


def free(job: Json, held: Iterable[Json], done: Iterable[int]) -> list[int]:
    """The indexes that no pod in `held` works on and that are not done with."""
    taken = {index_of(each) for each in held} | set(done)
    return [number for number in range(job["spec"]["completions"]) if number not in taken]


def failures(pod: Json) -> int:
    """How often the index of a pod had failed before it."""
    text = (pod["metadata"].get("annotations") or {}).get(FAILURES, "")
    return int(text) if text.isdecimal() else 0


def pod(job: Json, number: int, failed: int | None) -> Json:
    """The pod for one index: its number in annotation, label, hostname and environment.

    `failed` is how often the index has failed before, where that is counted by index.
    """
    made = from_template(job["spec"]["template"], JOBS, job, labels={INDEX: str(number)})
    name = f"{job['metadata']['name']}-{number}"
    made["metadata"]["generateName"] = f"{name}-"
    marks = {INDEX: str(number)} | ({} if failed is None else {FAILURES: str(failed)})
    made["metadata"]["annotations"] = (made["metadata"].get("annotations") or {}) | marks
    spec = made["spec"] | {"hostname": name}
    for group in ("containers", "initContainers"):
        if spec.get(group):
            spec[group] = [_told(container) for container in spec[group]]
    made["spec"] = spec
    return made


def _told(container: Json) -> Json:
    environment = container.get("env") or []
    if any(entry["name"] == _VARIABLE for entry in environment):
        return container
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
    return container | {"env": [*environment, {"name": _VARIABLE, "valueFrom": source}]}
