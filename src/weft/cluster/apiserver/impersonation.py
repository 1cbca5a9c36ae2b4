"""Acting as somebody else: `--as`, `--as-group`, `--as-uid` (`endpoints/filters/impersonation`)."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.authorization import Authorization
from weft.cluster.apiserver.users import ANONYMOUS, AUTHENTICATED, SERVICE_ACCOUNT, UNAUTHENTICATED, User

_EXTRA = "impersonate-extra-"
_AUTHENTICATION = "authentication.k8s.io"


class _Wanted(NamedTuple):
    name: str
    groups: tuple[str, ...]
    uid: str
    extra: Mapping[str, tuple[str, ...]]


def impersonated(user: User, headers: list[tuple[str, str]], authorization: Authorization) -> User:
    """Whom the caller acts as: itself, or whom it names if it may."""
    wanted = _wanted(headers)
    if wanted is None:
        return user
    for action in _actions(wanted):
        if not authorization.allows(user, action):
            what = action.resource.partition("/")[0] + (f".{action.group}" if action.group else "")
            details = {"name": action.name, "group": action.group, "kind": what.partition(".")[0]}
            raise errors.StatusError(
                403,
                "Forbidden",
                f'{what} "{action.name}" is forbidden: {authorization.refused(user, action)}',
                {key: value for key, value in details.items() if value},
            )
    return User(wanted.name, wanted.uid, _groups(wanted), wanted.extra)


def _wanted(headers: list[tuple[str, str]]) -> _Wanted | None:
    given = [(name.lower(), value) for name, value in headers if name.lower().startswith("impersonate-")]
    if not given:
        return None
    names = [value for name, value in given if name == "impersonate-user" and value]
    groups = tuple(value for name, value in given if name == "impersonate-group")
    uids = [value for name, value in given if name == "impersonate-uid"]
    extra: dict[str, tuple[str, ...]] = {}
    for name, value in given:
        if name.startswith(_EXTRA):
            key = unquote(name.removeprefix(_EXTRA))
            extra[key] = (*extra.get(key, ()), value)
    if not names:
        if not (groups or uids or extra):
            return None
        what = [{"Group": list(groups)}] if groups else [{"UID": uids}] if uids else [{"Extra": extra}]
        raise errors.internal(f"requested {what} without impersonating a user")
    return _Wanted(names[0], groups, uids[0] if uids else "", extra)


def _actions(wanted: _Wanted) -> Iterator[Action]:
    """What the caller must be allowed to."""
    if account := _account(wanted.name):
        namespace, name = account
        yield Action("impersonate", "", "serviceaccounts", namespace, name)
    else:
        yield Action("impersonate", "", "users", name=wanted.name)
    for group in wanted.groups:
        yield Action("impersonate", "", "groups", name=group)
    for key, values in wanted.extra.items():
        for value in values:
            yield Action("impersonate", _AUTHENTICATION, f"userextras/{key}", name=value)
    if wanted.uid:
        yield Action("impersonate", _AUTHENTICATION, "uids", name=wanted.uid)


def _account(name: str) -> tuple[str, str] | None:
    namespace, colon, account = name.removeprefix(SERVICE_ACCOUNT).partition(":")
    return (namespace, account) if name.startswith(SERVICE_ACCOUNT) and colon and account else None


def _groups(wanted: _Wanted) -> tuple[str, ...]:
    groups = wanted.groups
    if not groups and (account := _account(wanted.name)):
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    implied = UNAUTHENTICATED if wanted.name == ANONYMOUS else AUTHENTICATED
    return groups if {AUTHENTICATED, UNAUTHENTICATED} & set(groups) else (*groups, implied)
