"""What a route makes of a request: the path, host and headers that go on, or where the client is sent."""

from dataclasses import dataclass
from typing import Any

from weft.base.regex import compiled
from weft.xds.proto import base_pb2, route_components_pb2
from weft.xds.simulate_match import Request

_REDIRECT: Any = route_components_pb2.RedirectAction
REDIRECTS = {
    _REDIRECT.MOVED_PERMANENTLY: 301,
    _REDIRECT.FOUND: 302,
    _REDIRECT.SEE_OTHER: 303,
    _REDIRECT.TEMPORARY_REDIRECT: 307,
    _REDIRECT.PERMANENT_REDIRECT: 308,
}
_OWN_PORT = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Changes:
    """Header changes, names and values as configured: `_set` replaces, `_add` goes beside what is there."""

    request_set: tuple[tuple[str, str], ...] = ()
    request_add: tuple[tuple[str, str], ...] = ()
    request_remove: tuple[str, ...] = ()
    response_set: tuple[tuple[str, str], ...] = ()
    response_add: tuple[tuple[str, str], ...] = ()
    response_remove: tuple[str, ...] = ()


UNCHANGED = Changes()


def changes(message: Any) -> Changes:
    """The header changes of a Route or a weighted cluster."""
    return Changes(
        request_set=_pairs(message.request_headers_to_add, base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD),
        request_add=_pairs(message.request_headers_to_add, base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD),
        request_remove=tuple(message.request_headers_to_remove),
        response_set=_pairs(
            message.response_headers_to_add, base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
        ),
        response_add=_pairs(message.response_headers_to_add, base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD),
        response_remove=tuple(message.response_headers_to_remove),
    )


def path(route: Any, request: Request) -> str:
    """The path that the destination sees, query and all."""
    before, mark, query = request.path.partition("?")
    action = route.route
    if action.HasField("regex_rewrite"):
        regex = action.regex_rewrite
        before = compiled(regex.pattern.regex).sub(regex.substitution.replace("\\0", r"\g<0>"), before)
    elif action.prefix_rewrite:
        before = _swapped(route.match, before, action.prefix_rewrite)
    return before + mark + query


def location(route: Any, request: Request) -> str:
    """The Location of a redirect."""
    to = route.redirect
    scheme = to.scheme_redirect or request.scheme
    host, _, port = request.host.partition(":")
    if to.scheme_redirect and port == _OWN_PORT[request.scheme]:
        port = ""
    if to.host_redirect:
        host, port = to.host_redirect, ""
    if to.port_redirect:
        port = str(to.port_redirect)
    place = f"{host}:{port}" if port else host
    return f"{scheme}://{place}{_redirected(route, request)}"


def _redirected(route: Any, request: Request) -> str:
    before, mark, query = request.path.partition("?")
    to = route.redirect
    if to.path_redirect:
        return to.path_redirect if "?" in to.path_redirect else f"{to.path_redirect}{mark}{query}"
    if to.prefix_rewrite:
        before = _swapped(route.match, before, to.prefix_rewrite)
    return before + mark + query


def _swapped(match: Any, before: str, new: str) -> str:
    """`new` in place of what a prefix match took of the path; of the whole path for other matches."""
    taken = len(match.prefix) if match.WhichOneof("path_specifier") == "prefix" else len(before)
    return new + before[taken:]


def _pairs(options: Any, how: int) -> tuple[tuple[str, str], ...]:
    return tuple((each.header.key, each.header.value) for each in options if each.append_action == how)
