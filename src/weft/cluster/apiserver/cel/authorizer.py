"""What expressions may ask: `authorizer.group("").resource("pods").check("create").allowed()`."""

from collections.abc import Callable
from typing import Any, Protocol

from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.cel.signatures import (
    AUTHORIZER,
    DECISION,
    GROUP_CHECK,
    PATH_CHECK,
    RESOURCE_CHECK,
    Box,
    Signature,
    box,
    content,
    method,
)
from weft.cluster.apiserver.users import AUTHENTICATED, SERVICE_ACCOUNT, User


class Access(Protocol):
    """The one who knows what users may do."""

    def allows(self, user: User, action: Action) -> bool:
        """Whether the user may do this."""
        ...


def asking(user: User, request: dict[str, str]) -> Box:
    """The value of the variable `authorizer`; `request` is what `requestResource` stands for."""
    who = {"name": user.name, "uid": user.uid, "groups": list(user.groups)}
    return {**box(AUTHORIZER, {"user": who}), "requestResource": box(RESOURCE_CHECK, {"user": who, **request})}


def signatures(access: Access) -> tuple[Signature, ...]:
    """The functions on the authorizer."""

    def check(value: Box, verb: str) -> Box:
        asked: dict[str, Any] = content(value)
        who = asked["user"]
        user = User(who["name"], who["uid"], tuple(who["groups"]))
        resource = asked.get("resource", "")
        if asked.get("subresource"):
            resource = f"{resource}/{asked['subresource']}"
        named = (asked.get(name, "") for name in ("namespace", "name", "path"))
        return box(DECISION, access.allows(user, Action(verb, asked.get("group", ""), resource, *named)))

    return (
        method("path", f"{AUTHORIZER} string", PATH_CHECK, _with(PATH_CHECK, "path")),
        method("group", f"{AUTHORIZER} string", GROUP_CHECK, _with(GROUP_CHECK, "group")),
        method("serviceAccount", f"{AUTHORIZER} string string", AUTHORIZER, _account),
        method("resource", f"{GROUP_CHECK} string", RESOURCE_CHECK, _with(RESOURCE_CHECK, "resource")),
        *(
            method(name, f"{RESOURCE_CHECK} string", RESOURCE_CHECK, _with(RESOURCE_CHECK, name))
            for name in ("subresource", "namespace", "name")
        ),
        method("check", f"{PATH_CHECK} string", DECISION, check),
        method("check", f"{RESOURCE_CHECK} string", DECISION, check),
        method("allowed", DECISION, "bool", lambda value: content(value) is True),
        method("errored", DECISION, "bool", lambda _: False),
        method("error", DECISION, "string", lambda _: ""),
        method("reason", DECISION, "string", lambda _: ""),
    )


def _with(kind: str, name: str) -> Callable[[Box, str], Box]:
    return lambda value, given: box(kind, {**content(value), name: given})


def _account(_: Box, namespace: str, name: str) -> Box:
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED]
    return box(AUTHORIZER, {"user": {"name": f"{SERVICE_ACCOUNT}{namespace}:{name}", "uid": "", "groups": groups}})
