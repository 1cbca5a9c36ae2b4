"""Questions that are answered and not stored: who is this, may they do that."""

from collections.abc import Callable, Iterable
from typing import Any

from weft.cluster.apiserver import errors, nodeauthorization
from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.authorization import Authorization
from weft.cluster.apiserver.cluster import Call, Obj
from weft.cluster.apiserver.tokens import AUDIENCE, TokenError, Tokens
from weft.cluster.apiserver.users import User


def _answer(body: Obj, status: Obj) -> Obj:
    return {**body, "metadata": body.get("metadata") or {}, "status": status}


def token_review(body: Obj, tokens: Tokens) -> Obj:
    """`TokenReview`: whom a token stands for, if it is good for one of the audiences asked about."""
    spec = body.get("spec") or {}
    token = spec.get("token")
    if not isinstance(token, str) or not token:
        raise errors.bad_request("token is required for TokenReview in authentication")
    audiences = [str(item) for item in spec.get("audiences") or [AUDIENCE]]
    try:
        user, good = tokens.check(token, audiences)
    except TokenError as error:
        return _answer(body, {"user": {}, "error": str(error)})
    return _answer(body, {"authenticated": True, "user": user.info(), "audiences": good})


def _action(spec: Obj) -> Action:
    if plain := spec.get("nonResourceAttributes"):
        return Action(verb=str(plain.get("verb", "")), path=str(plain.get("path", "")))
    wanted = spec.get("resourceAttributes") or {}
    resource, below = str(wanted.get("resource", "")), str(wanted.get("subresource", ""))
    return Action(
        verb=str(wanted.get("verb", "")),
        group=str(wanted.get("group", "")),
        resource=f"{resource}/{below}" if below else resource,
        namespace=str(wanted.get("namespace", "")),
        name=str(wanted.get("name", "")),
        fields=str((wanted.get("fieldSelector") or {}).get("rawSelector", "")),
    )


def _spec(body: Obj, call: Call, *, subject: bool) -> Obj:
    """The question, or 422 where it asks nothing or two things at once (`authorization/validation`)."""
    spec: Obj = body.get("spec") or {}
    resource, plain = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    found = []
    if resource is not None and plain is not None:
        why = "cannot be specified in combination with resourceAttributes"
        found.append(errors.invalid_value("spec.nonResourceAttributes", plain, why))
    if resource is None and plain is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        found.append(errors.invalid_value("spec.resourceAttributes", None, why))
    if subject and not spec.get("user") and not spec.get("groups"):
        found.append(errors.invalid_value("spec.user", "", "at least one of user or group must be specified"))
    if found:
        raise errors.invalid(call.kind, "", found)
    return spec


def _judged(body: Obj, spec: Obj, user: User, authorization: Authorization) -> Obj:
    allowed, reason = authorization.decide(user, _action(spec))
    return _answer(body, {"allowed": allowed, **({"reason": reason} if reason else {})})


def self_access_review(body: Obj, call: Call, authorization: Authorization) -> Obj:
    """`SelfSubjectAccessReview`: may I."""
    return _judged(body, _spec(body, call, subject=False), call.user, authorization)


def access_review(body: Obj, call: Call, authorization: Authorization) -> Obj:
    """`SubjectAccessReview` and `LocalSubjectAccessReview`: may they."""
    spec = _spec(body, call, subject=True)
    if call.namespace:
        asked = (spec.get("resourceAttributes") or {}).get("namespace", "")
        if spec.get("nonResourceAttributes") is not None:
            why = "disallowed on this kind of request"
            raise errors.invalid(call.kind, "", [errors.forbidden_field("spec.nonResourceAttributes", why)])
        if asked != call.namespace:
            raise errors.bad_request(f"spec.resourceAttributes.namespace must match namespace: {call.namespace}")
    extra = {str(key): tuple(map(str, values or ())) for key, values in (spec.get("extra") or {}).items()}
    groups = tuple(str(group) for group in spec.get("groups") or ())
    subject = User(str(spec.get("user", "")), str(spec.get("uid", "")), groups, extra)
    return _judged(body, spec, subject, authorization)


def rules_review(body: Obj, call: Call, authorization: Authorization) -> Obj:
    """`SelfSubjectRulesReview`: what may I do in a namespace."""
    namespace = str((body.get("spec") or {}).get("namespace", ""))
    if not namespace:
        raise errors.bad_request("no namespace on request")
    rules = authorization.rules(call.user, namespace)
    is_node = bool(nodeauthorization.node_of(call.user))
    status = {
        "resourceRules": [
            _shown(rule, ("verbs", "apiGroups", "resources", "resourceNames"))
            for rule in rules
            if rule.get("resources")
        ],
        "nonResourceRules": [
            _shown(rule, ("verbs", "nonResourceURLs")) for rule in rules if rule.get("nonResourceURLs")
        ],
        "incomplete": is_node,
        **({"evaluationError": "node authorizer does not support user rule resolution"} if is_node else {}),
    }
    return _answer(body, status)


def _shown(rule: Obj, fields: Iterable[str]) -> Obj:
    return {name: rule[name] for name in fields if rule.get(name)}


def self_review(body: Obj, call: Call, _authorization: Authorization) -> Obj:
    """`SelfSubjectReview`: who am I."""
    return _answer(body, {"userInfo": call.user.info()})


Review = Callable[[Obj, Call, Authorization], Any]
REVIEWS: dict[str, Review] = {
    "selfsubjectaccessreviews": self_access_review,
    "localsubjectaccessreviews": access_review,
    "subjectaccessreviews": access_review,
    "selfsubjectrulesreviews": rules_review,
    "selfsubjectreviews": self_review,
}
"""By plural, the answers that need the caller and the roles."""
