"""The kinds that make pods from a template."""

from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, required, unsupported
from weft.cluster.apiserver.selectors import from_object
from weft.cluster.apiserver.validation import pods

Obj = dict[str, Any]
_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


def selecting(obj: Obj) -> list[FieldError]:
    """Deployments, ReplicaSets, DaemonSets and StatefulSets: the selector must find the template's pods."""
    spec = obj.get("spec") or {}
    found = []
    if spec.get("replicas", 0) < 0:
        found.append(invalid_value("spec.replicas", spec["replicas"], "must be greater than or equal to 0"))
    found += _selector(spec)
    template = spec.get("template") or {}
    found += names.labels((template.get("metadata") or {}).get("labels") or {}, "spec.template.metadata.labels")
    found += pods.spec(_with_claims(spec, template.get("spec") or {}), "spec.template.spec")
    policy = (template.get("spec") or {}).get("restartPolicy", "Always")
    if policy in {"OnFailure", "Never"}:
        found.append(unsupported("spec.template.spec.restartPolicy", policy, ["Always"]))
    return found


def _with_claims(spec: Obj, template: Obj) -> Obj:
    """A StatefulSet's pod as it will be: each claim template is a volume of its name."""
    claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates") or ()]
    held = [volume for volume in template.get("volumes") or () if volume.get("name") not in claims]
    made = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    return {**template, "volumes": [*held, *made]} if claims else template


def _selector(spec: Obj) -> list[FieldError]:
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [invalid_value("spec.selector", selector, "empty selector is invalid for deployment")]
    for index, term in enumerate(selector.get("matchExpressions") or ()):
        if term.get("operator") not in _OPERATORS:
            return [
                unsupported(f"spec.selector.matchExpressions[{index}].operator", term.get("operator"), _OPERATORS)
            ]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not from_object(selector).matches(labels):
        return [
            invalid_value("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"),
        ]
    return []


def job(obj: Obj) -> list[FieldError]:
    """A Job's pods end."""
    spec = obj.get("spec") or {}
    return _ending(spec.get("template") or {}, "spec.template.spec")


def cron_job(obj: Obj) -> list[FieldError]:
    """A CronJob has a schedule, and its jobs' pods end."""
    spec = obj.get("spec") or {}
    found = []
    if len(str(spec.get("schedule", "")).split()) != 5 and not str(spec.get("schedule", "")).startswith("@"):
        found.append(invalid_value("spec.schedule", spec.get("schedule"), "expected exactly 5 fields"))
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    return found + _ending(template, "spec.jobTemplate.spec.template.spec")


def _ending(template: Obj, path: str) -> list[FieldError]:
    spec = template.get("spec") or {}
    found = pods.spec(spec, path)
    policy = spec.get("restartPolicy", "Always")
    if policy not in {"OnFailure", "Never"}:
        found.append(
            FieldError(
                f"{path}.restartPolicy", "FieldValueRequired", 'Required value: valid values: "OnFailure", "Never"'
            )
        )
    return found


def selector_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A selector is for good."""
    new, old = obj["spec"].get("selector"), before["spec"].get("selector")
    return [] if new == old else [invalid_value("spec.selector", new, "field is immutable")]


def stateful_set_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A StatefulSet may change a few things only."""
    free = {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    }
    new = {key: value for key, value in obj["spec"].items() if key not in free}
    old = {key: value for key, value in before["spec"].items() if key not in free}
    if new == old:
        return []
    named = (
        "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit',"
        " 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds'"
    )
    return [forbidden_field("spec", f"updates to statefulset spec for fields other than {named} are forbidden")]


def job_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A Job's template and selector are for good."""
    return [
        invalid_value(f"spec.{name}", obj["spec"].get(name), "field is immutable")
        for name in ("completions", "selector", "template")
        if obj["spec"].get(name) != before["spec"].get(name)
    ]
