"""What an AuthorizationPolicy is taken for that cannot be read: never for more than its author can have allowed.

Admission refuses such policies, but is not there while istiod is not, and knows nothing of what was stored before.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from weft.api.authorization_policy import AnnotatedMetadata, AuthorizationPolicy
from weft.api.decode import place
from weft.api.policy_target import PolicyTarget
from weft.api.shape import WorkloadSelector
from weft.base.problem import Problem
from weft.model.authorization import Action, Clause, Policy, PolicyRule
from weft.model.policy_scope import PolicyScope, policy_scope

_EVERYTHING = (Clause(),)
_WHOM = ("spec.selector", "spec.targetRef")
T = TypeVar("T")


def closed(written: Mapping[str, Any], problems: Iterable[Problem]) -> tuple[PolicyRule, str] | None:
    """What holds in place of a policy with these problems, and what that does.

    ALLOW allows nothing; DENY, CUSTOM and what cannot be told from them deny all: for the workloads that the
    policy selects, or for all of its namespace where that cannot be read either. What only logs or is only tried
    is left out: None.
    """
    at = place(AuthorizationPolicy.__name__, written)
    spec = written.get("spec")
    spec = spec if isinstance(spec, Mapping) else {}
    metadata = _read(written.get("metadata"), AnnotatedMetadata) or AnnotatedMetadata()
    action = spec.get("action") or Action.ALLOW
    if action == Action.AUDIT or AuthorizationPolicy(metadata=metadata).dry_run:
        return None
    allows = action == Action.ALLOW
    scope = _scope(at.namespace, spec, problems)
    whom = (
        "the workloads that it selects" if scope.selector or scope.targeted else "all workloads of its namespace"
    )
    rule = PolicyRule(
        name=at.name,
        namespace=at.namespace,
        created="",
        scope=scope,
        action=Action.ALLOW if allows else Action.DENY,
        policy=Policy(at.name, at.namespace, () if allows else _EVERYTHING),
    )
    return rule, f"{'allows nothing to' if allows else 'denies all requests to'} {whom}"


def _scope(namespace: str, spec: Mapping[str, Any], problems: Iterable[Problem]) -> PolicyScope:
    if any(each.at.field.startswith(_WHOM) for each in problems):
        return PolicyScope(namespace)
    return policy_scope(
        namespace,
        _read(spec.get("selector"), WorkloadSelector),
        _read(spec.get("targetRef"), PolicyTarget),
        _read(spec.get("targetRefs"), tuple[PolicyTarget, ...]) or (),
    )


def _read(written: Any, kind: type[T]) -> T | None:
    try:
        return msgspec.convert(written, kind)
    except msgspec.ValidationError:
        return None
