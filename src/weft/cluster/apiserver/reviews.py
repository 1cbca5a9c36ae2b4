"""Questions that are answered and not stored: who is this, may they do that."""

from collections.abc import Callable
from typing import Any

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.authorization import Authorization
from weft.cluster.apiserver.cluster import Obj
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


def _judged(body: Obj, user: User, authorization: Authorization) -> Obj:
    # no reason beside a "no": RBAC has none either, and `kubectl auth can-i` prints it
    return _answer(body, {"allowed": authorization.allows(user, _action(body.get("spec") or {}))})


def self_access_review(body: Obj, user: User, authorization: Authorization) -> Obj:
    """`SelfSubjectAccessReview`: may I."""
    return _judged(body, user, authorization)


def access_review(body: Obj, _user: User, authorization: Authorization) -> Obj:
    """`SubjectAccessReview`: may they."""
    spec = body.get("spec") or {}
    subject = User(str(spec.get("user", "")), groups=tuple(str(group) for group in spec.get("groups") or ()))
    return _judged(body, subject, authorization)


def rules_review(body: Obj, user: User, authorization: Authorization) -> Obj:
    """`SelfSubjectRulesReview`: what may I do in a namespace."""
    namespace = str((body.get("spec") or {}).get("namespace", ""))
    rules = list(authorization.rules(user, namespace))
    everything: dict[str, Any] = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    if "system:masters" in user.groups:
        rules.append(everything)
    status = {
        "resourceRules": [rule for rule in rules if rule.get("resources")],
        "nonResourceRules": [
            {"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]}
            for rule in rules
            if rule.get("nonResourceURLs")
        ],
        "incomplete": False,
    }
    return _answer(body, status)


def self_review(body: Obj, user: User, _authorization: Authorization) -> Obj:
    """`SelfSubjectReview`: who am I."""
    return _answer(body, {"userInfo": user.info()})


REVIEWS: dict[str, Callable[[Obj, User, Authorization], Obj]] = {
    "selfsubjectaccessreviews": self_access_review,
    "localsubjectaccessreviews": access_review,
    "subjectaccessreviews": access_review,
    "selfsubjectrulesreviews": rules_review,
    "selfsubjectreviews": self_review,
}
"""By plural, the answers that need the caller and the roles."""
