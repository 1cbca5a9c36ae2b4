"""Jobs and CronJobs: pods that end."""

import re
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import FieldError, Shown, invalid_value, required, unsupported
from weft.cluster.apiserver.selectors import from_object
from weft.cluster.apiserver.validation import pods
from weft.cluster.apiserver.validation.goform import go
from weft.cluster.apiserver.validation.rules import (
    IMMUTABLE,
    Found,
    go_map,
    go_selector,
    immutable,
    label_selector,
    non_negative,
    one_of,
)
from weft.cluster.schedule import ScheduleError, parse

Obj = dict[str, Any]
_COUNTS = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_MOST_INDEXES = 100_000
_LONGEST_CRON_NAME = 52
_ZONE = re.compile(r"[A-Za-z.\-_0-9+]{1,14}(/[A-Za-z.\-_0-9+]{1,14})*")
_SUSPENDED_MAY_CHANGE = ("affinity", "nodeSelector", "tolerations", "schedulingGates")


def job(obj: Obj) -> list[FieldError]:
    """What is wrong with a Job."""
    spec = obj.get("spec") or {}
    return [*_own_labels(obj, spec), *_spec(spec, "spec"), *_selected(spec), *_index_name(obj, spec)]


def _own_labels(obj: Obj, spec: Obj) -> Found:
    """A selector that the server made finds the Job's own pods."""
    if spec.get("manualSelector") or spec.get("selector") is None:
        return
    own = {
        "batch.kubernetes.io/controller-uid": obj["metadata"].get("uid", ""),
        "controller-uid": obj["metadata"].get("uid", ""),
    }
    own |= {"batch.kubernetes.io/job-name": obj["metadata"]["name"], "job-name": obj["metadata"]["name"]}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    for key in (
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-name",
        "controller-uid",
        "job-name",
    ):
        where = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            yield required(where, f"must be '{own[key]}'")
        elif labels[key] != own[key]:
            yield invalid_value(where, go_map(labels), f"must be '{own[key]}'")
    if not from_object(spec["selector"]).matches(own):
        yield invalid_value("spec.selector", go_selector(spec["selector"]), "`selector` not auto-generated")


def _selected(spec: Obj) -> Found:
    selector = spec.get("selector")
    if selector is None:
        yield required("spec.selector")
        return
    yield from label_selector(selector, "spec.selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not from_object(selector).matches(labels or {}):
        why = "`selector` does not match template `labels`"
        yield invalid_value("spec.template.metadata.labels", go_map(labels), why)


def _index_name(obj: Obj, spec: Obj) -> Found:
    """Each index of an indexed Job is part of its pod's host name."""
    if spec.get("completionMode") != "Indexed" or not spec.get("completions"):
        return
    name = f"{obj['metadata']['name']}-{spec['completions'] - 1}"
    if names.label(name):
        why = f"will not able to create pod with invalid DNS label: {name}"
        yield invalid_value("metadata.name", obj["metadata"]["name"], why)


def _spec(spec: Obj, path: str) -> Found:
    yield from non_negative(spec, path, *_COUNTS)
    per_index = spec.get("backoffLimitPerIndex")
    if spec.get("maxFailedIndexes") is not None and per_index is None:
        yield required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    yield from _mode(spec, path)
    yield from one_of(
        spec.get("podReplacementPolicy"), f"{path}.podReplacementPolicy", ("Failed", "TerminatingOrFailed")
    )
    template = spec.get("template") or {}
    yield from pods.template(template, f"{path}.template")
    where, policy = (
        f"{path}.template.spec.restartPolicy",
        (template.get("spec") or {}).get("restartPolicy", "Always"),
    )
    if policy not in {"OnFailure", "Never"}:
        yield required(where, 'valid values: "OnFailure", "Never"')
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        yield invalid_value(where, policy, why)


def _mode(spec: Obj, path: str) -> Found:
    mode = spec.get("completionMode", "NonIndexed")
    yield from one_of(mode, f"{path}.completionMode", ("NonIndexed", "Indexed"))
    if mode == "Indexed":
        if spec.get("completions") is None:
            yield required(f"{path}.completions", "when completion mode is Indexed")
        if spec.get("parallelism", 1) > _MOST_INDEXES:
            why = f"must be less than or equal to {_MOST_INDEXES} when completion mode is Indexed"
            yield invalid_value(f"{path}.parallelism", spec["parallelism"], why)
    elif spec.get("backoffLimitPerIndex") is not None:
        yield invalid_value(
            f"{path}.backoffLimitPerIndex", spec["backoffLimitPerIndex"], "requires indexed completion mode"
        )


def job_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A Job's template and selector are for good."""
    return [*_job_changed(obj["spec"], before["spec"])]


def _job_changed(new: Obj, old: Obj) -> Found:
    yield from _completions_changed(new, old)
    if new.get("selector") != old.get("selector"):
        yield invalid_value("spec.selector", go_selector(new.get("selector")), IMMUTABLE)
    template, was = new.get("template") or {}, old.get("template") or {}
    if old.get("suspend"):  # where its pods shall go may still change
        template, was = _directed(template), _directed(was)
    if template != was:
        yield invalid_value("spec.template", go("PodTemplateSpec", new.get("template") or {}), IMMUTABLE)
    yield from immutable(
        new,
        old,
        "spec.",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    )


def _directed(template: Obj) -> Obj:
    spec = {key: value for key, value in (template.get("spec") or {}).items() if key not in _SUSPENDED_MAY_CHANGE}
    metadata = {
        key: value
        for key, value in (template.get("metadata") or {}).items()
        if key not in {"labels", "annotations"}
    }
    return {**template, "spec": spec, "metadata": metadata}


def _completions_changed(new: Obj, old: Obj) -> Found:
    asked, had = new.get("completions"), old.get("completions")
    if asked == had:
        return
    if old.get("completionMode") != "Indexed" or asked is None or had is None:
        yield invalid_value("spec.completions", asked, IMMUTABLE)
    elif asked != new.get("parallelism"):
        why = "can only be modified in tandem with spec.parallelism"
        yield invalid_value("spec.completions", asked, why)


def cron_job(obj: Obj) -> list[FieldError]:
    """What is wrong with a CronJob."""
    return [*_cron_job(obj.get("spec") or {})]


def new_cron_job(obj: Obj) -> list[FieldError]:
    """The names of its Jobs, which get eleven more characters, must fit, too."""
    name = obj["metadata"]["name"]
    if len(name) <= _LONGEST_CRON_NAME:
        return []
    return [invalid_value("metadata.name", name, f"must be no more than {_LONGEST_CRON_NAME} characters")]


def _cron_job(spec: Obj) -> Found:
    if not spec.get("schedule"):
        yield required("spec.schedule")
    else:
        yield from _schedule(spec["schedule"], spec.get("timeZone"))
    if spec.get("timeZone") is not None:
        yield from _zone(spec["timeZone"], "spec.timeZone")
    yield from non_negative(spec, "spec", "startingDeadlineSeconds")
    yield from one_of(
        spec.get("concurrencyPolicy", "Allow"),
        "spec.concurrencyPolicy",
        ("Allow", "Forbid", "Replace"),
        absent="",
    )
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    yield from _spec(inner, "spec.jobTemplate.spec")
    where = "spec.jobTemplate.spec"
    if inner.get("selector") is not None:
        yield invalid_value(
            f"{where}.selector", go_selector(inner["selector"]), "`selector` will be auto-generated"
        )
    if inner.get("manualSelector"):
        yield unsupported(f"{where}.manualSelector", Shown("true"), ("nil", "false"))
    yield from non_negative(spec, "spec", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")


def _schedule(text: str, zone: str | None) -> Found:
    if "TZ" in text:
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        if zone is not None:
            why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        yield invalid_value("spec.schedule", text, why)
        return
    try:
        parse(text)
    except ScheduleError as error:
        yield invalid_value("spec.schedule", text, str(error))


def _zone(zone: str, path: str) -> Found:
    if not zone:
        yield invalid_value(path, zone, "timeZone must be nil or non-empty string")
    elif zone.lower() == "local":
        why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        yield invalid_value(path, zone, why)
    elif not _ZONE.fullmatch(zone):
        yield invalid_value(path, zone, f"unknown time zone {zone}")
    else:
        try:
            parse("0 0 * * *", zone)
        except ScheduleError as error:
            yield invalid_value(path, zone, str(error))
