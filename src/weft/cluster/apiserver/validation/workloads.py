"""The kinds that keep pods running from a template."""

from collections.abc import Callable
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, required, unsupported
from weft.cluster.apiserver.selectors import from_object
from weft.cluster.apiserver.validation import pods, storage
from weft.cluster.apiserver.validation.goform import go
from weft.cluster.apiserver.validation.rules import (
    IMMUTABLE,
    NEGATIVE,
    Found,
    at_most_all,
    count_or_percent,
    go_map,
    go_selector,
    is_zero,
    label_selector,
    non_negative,
    one_of,
)

Obj = dict[str, Any]
_OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})
_FREE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def deployment(obj: Obj) -> list[FieldError]:
    """What is wrong with a Deployment."""
    return [*_deployment(obj.get("spec") or {})]


def _deployment(spec: Obj) -> Found:
    yield from non_negative(spec, "spec", "replicas")
    yield from _selector(spec, "deployment")
    yield from _template(spec, "ReplicaSet")
    yield from _strategy(spec.get("strategy") or {}, "spec.strategy")
    yield from non_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        yield invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def replica_set(obj: Obj) -> list[FieldError]:
    """What is wrong with a ReplicaSet."""
    spec = obj.get("spec") or {}
    return [
        *non_negative(spec, "spec", "replicas", "minReadySeconds"),
        *_selector(spec, "deployment"),
        *_template(spec, "ReplicaSet"),
    ]


def replication_controller(obj: Obj) -> list[FieldError]:
    """What is wrong with a ReplicationController, whose selector is a plain map."""
    return [*_replication_controller(obj.get("spec") or {})]


def _replication_controller(spec: Obj) -> Found:
    yield from non_negative(spec, "spec", "minReadySeconds")
    selector = spec.get("selector") or {}
    if not selector:
        yield required("spec.selector")
    yield from non_negative(spec, "spec", "replicas")
    if spec.get("template") is None:
        yield required("spec.template")
    else:
        yield from _template({**spec, "selector": {"matchLabels": selector}}, "ReplicationController")


def _selector(spec: Obj, what: str) -> Found:
    selector = spec.get("selector")
    if selector is None:
        yield required("spec.selector")
        return
    yield from label_selector(selector, "spec.selector")
    if _empty(selector):
        yield invalid_value("spec.selector", go_selector(selector), f"empty selector is invalid for {what}")


def _empty(selector: Obj) -> bool:
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def _matching(spec: Obj) -> Found:
    """The selector must find the template's pods."""
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if selector is None:
        found = False
    elif any(term.get("operator") not in _OPERATORS for term in selector.get("matchExpressions") or ()):
        yield invalid_value("spec.selector", go_selector(selector), "invalid label selector")
        return
    else:
        found = _empty(selector) or from_object(selector).matches(labels or {})
    if not found:
        why = "`selector` does not match template `labels`"
        yield invalid_value("spec.template.metadata.labels", go_map(labels), why)


def _template(spec: Obj, maker: str) -> Found:
    yield from _matching(spec)
    yield from _lasting(spec, f"activeDeadlineSeconds in {maker} is not Supported")


def _lasting(spec: Obj, no_deadline: str) -> Found:
    """A template whose pods never end."""
    template = spec.get("template") or {}
    yield from pods.template(template, "spec.template")
    inner = template.get("spec") or {}
    if inner.get("restartPolicy", "Always") != "Always":
        yield unsupported("spec.template.spec.restartPolicy", inner["restartPolicy"], ["Always"])
    if inner.get("activeDeadlineSeconds") is not None:
        yield forbidden_field("spec.template.spec.activeDeadlineSeconds", no_deadline)


def _strategy(given: Obj, path: str) -> Found:
    rolling = given.get("rollingUpdate")
    match given.get("type", "RollingUpdate"):
        case "Recreate":
            if rolling is not None:
                why = "may not be specified when strategy `type` is 'Recreate'"
                yield forbidden_field(f"{path}.rollingUpdate", why)
        case "RollingUpdate":
            yield from _rolling(rolling or {}, f"{path}.rollingUpdate")
        case _:
            yield unsupported(path, go("DeploymentStrategy", given), ("Recreate", "RollingUpdate"))


def _rolling(given: Obj, path: str) -> Found:
    unavailable, surge = given.get("maxUnavailable", "25%"), given.get("maxSurge", "25%")
    yield from count_or_percent(unavailable, f"{path}.maxUnavailable")
    yield from count_or_percent(surge, f"{path}.maxSurge")
    if is_zero(unavailable) and is_zero(surge):
        yield invalid_value(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
    yield from at_most_all(unavailable, f"{path}.maxUnavailable")


def daemon_set(obj: Obj) -> list[FieldError]:
    """What is wrong with a DaemonSet."""
    return [*_daemon_set(obj.get("spec") or {})]


def _daemon_set(spec: Obj) -> Found:
    selector = spec.get("selector")
    yield from label_selector(selector, "spec.selector")
    yield from _matching(spec)
    if selector is not None and _empty(selector):
        yield invalid_value("spec.selector", go_selector(selector), "empty selector is invalid for daemonset")
    yield from _lasting(spec, "activeDeadlineSeconds in DaemonSet is not Supported")
    yield from non_negative(spec, "spec", "minReadySeconds")
    yield from _daemon_update(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    yield from non_negative(spec, "spec", "revisionHistoryLimit")


def _daemon_update(given: Obj, path: str) -> Found:
    kind = given.get("type", "RollingUpdate")
    if kind not in {"RollingUpdate", "OnDelete"}:
        yield unsupported(path, go("DeploymentStrategy", given), ("RollingUpdate", "OnDelete"))
    if kind != "RollingUpdate":
        return
    rolling = given.get("rollingUpdate") or {}
    unavailable, surge, path = (
        rolling.get("maxUnavailable", 1),
        rolling.get("maxSurge", 0),
        f"{path}.rollingUpdate",
    )
    yield from count_or_percent(unavailable, f"{path}.maxUnavailable")
    yield from at_most_all(unavailable, f"{path}.maxUnavailable")
    yield from count_or_percent(surge, f"{path}.maxSurge")
    yield from at_most_all(surge, f"{path}.maxSurge")
    if not is_zero(unavailable) and not is_zero(surge):
        yield invalid_value(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
    elif is_zero(unavailable) and is_zero(surge):
        yield required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")


def stateful_set(obj: Obj) -> list[FieldError]:
    """What is wrong with a StatefulSet."""
    return [*_stateful_set(obj.get("spec") or {})]


def _stateful_set(spec: Obj) -> Found:
    policy = spec.get("podManagementPolicy", "OrderedReady")
    if policy not in {"OrderedReady", "Parallel"}:
        yield invalid_value("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    yield from _stateful_update(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        where = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
        yield from one_of(retention.get(field), where, ("Retain", "Delete"))
    yield from non_negative(spec, "spec", "replicas", "minReadySeconds")
    yield from non_negative(spec.get("ordinals") or {}, "spec.ordinals", "start")
    selector = spec.get("selector")
    if selector is None:
        yield required("spec.selector")
    else:
        yield from label_selector(selector, "spec.selector")
        if _empty(selector):
            yield invalid_value(
                "spec.selector", go_selector(selector), "empty selector is invalid for statefulset"
            )
    yield from _matching(spec)
    yield from _lasting(_with_claims(spec), "activeDeadlineSeconds in StatefulSet is not Supported")
    for index, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        where = f"spec.volumeClaimTemplates[{index}]"
        metadata = claim.get("metadata") or {}
        if not metadata.get("name"):
            yield required(f"{where}.metadata.name")
        yield from names.labels(metadata.get("labels") or {}, f"{where}.metadata.labels")
        yield from storage.claim_spec(claim.get("spec") or {}, f"{where}.spec")


def _stateful_update(given: Obj, path: str) -> Found:
    kind, rolling = given.get("type", "RollingUpdate"), given.get("rollingUpdate")
    if kind == "OnDelete" and rolling is not None:
        why = "only allowed for updateStrategy 'RollingUpdate'"
        yield invalid_value(f"{path}.rollingUpdate", go("StatefulSetRollingUpdate", rolling), why)
    elif kind == "RollingUpdate" and (rolling or {}).get("partition", 0) < 0:
        yield invalid_value(f"{path}.rollingUpdate.partition", (rolling or {})["partition"], NEGATIVE)
    elif kind not in {"RollingUpdate", "OnDelete"}:
        why = "must be 'RollingUpdate' or 'OnDelete'"
        yield invalid_value(path, go("StatefulSetUpdateStrategy", given), why)


def _with_claims(spec: Obj) -> Obj:
    """A StatefulSet whose template is the pod as it will be: each claim template is a volume of its name."""
    template = spec.get("template") or {}
    inner = template.get("spec") or {}
    claims = [(claim.get("metadata") or {}).get("name", "") for claim in spec.get("volumeClaimTemplates") or ()]
    held = [volume for volume in inner.get("volumes") or () if volume.get("name") not in claims]
    made = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims if name]
    return {**spec, "template": {**template, "spec": {**inner, "volumes": [*held, *made]}}}


def selector_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A selector is for good."""
    new, old = obj["spec"].get("selector"), before["spec"].get("selector")
    return [] if new == old else [invalid_value("spec.selector", go_selector(new), IMMUTABLE)]


def stateful_set_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A StatefulSet may change a few things only."""
    kept: Callable[[Obj], Obj] = lambda spec: {key: spec[key] for key in spec if key not in _FREE}  # noqa: E731
    if kept(obj["spec"]) == kept(before["spec"]):
        return []
    listed = ", ".join(f"'{name}'" for name in _FREE[:-1])
    why = f"updates to statefulset spec for fields other than {listed} and '{_FREE[-1]}' are forbidden"
    return [forbidden_field("spec", why)]
