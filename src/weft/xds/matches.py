"""Conditions on a request, as Envoy tests them."""

from typing import Any

from weft.model.routing import MatchKind, RequestMatch, StringMatch
from weft.xds import claims
from weft.xds.proto import regex_pb2, route_components_pb2, string_pb2

_ANY = StringMatch(MatchKind.PREFIX, "/")


def route_match(match: RequestMatch) -> Any:
    """The RouteMatch in which all of `match`'s conditions hold."""
    message = route_components_pb2.RouteMatch()
    _path(message, match.uri or _ANY)
    pseudo = ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme))
    for name, condition in pseudo:
        if condition is not None:
            message.headers.append(_header(name, condition))
    message.headers.extend(_header(name, condition) for name, condition in match.headers)
    message.headers.extend(_header(name, condition, without=True) for name, condition in match.without_headers)
    message.query_parameters.extend(_query(name, condition) for name, condition in match.query)
    message.dynamic_metadata.extend(_claim(path, condition) for path, condition in match.claims)
    message.dynamic_metadata.extend(_claim(path, each, without=True) for path, each in match.without_claims)
    return message


def describe(match: RequestMatch) -> str:
    """The path of a match as operators read it: `/api/*`."""
    uri = match.uri or _ANY
    return f"{uri.value}*" if uri.kind is MatchKind.PREFIX else uri.value


def _path(message: Any, uri: StringMatch) -> None:
    match uri.kind:
        case MatchKind.EXACT:
            message.path = uri.value
        case MatchKind.PREFIX:
            message.prefix = uri.value
        case MatchKind.REGEX:
            # case_sensitive does not hold for regexes; RE2's own flag does
            flag = "(?i)" if uri.ignore_case else ""
            message.safe_regex.CopyFrom(regex_pb2.RegexMatcher(regex=flag + uri.value))
            return
        case MatchKind.PRESENT:
            message.prefix = "/"
    if uri.ignore_case:
        message.case_sensitive.value = False


def string(condition: StringMatch) -> Any:
    """The StringMatcher of a comparison."""
    match condition.kind:
        case MatchKind.PREFIX:
            return string_pb2.StringMatcher(prefix=condition.value, ignore_case=condition.ignore_case)
        case MatchKind.REGEX:
            return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=condition.value))
        case _:
            return string_pb2.StringMatcher(exact=condition.value, ignore_case=condition.ignore_case)


def _header(name: str, condition: StringMatch, *, without: bool = False) -> Any:
    header = route_components_pb2.HeaderMatcher(name=name, invert_match=without)
    # an empty prefix is Envoy's invalid matcher, and means: any value
    if condition.kind is MatchKind.PRESENT or (condition.kind is MatchKind.PREFIX and not condition.value):
        header.present_match = True
    else:
        header.string_match.CopyFrom(string(condition))
        # a header that is not there does not carry the unwanted value
        header.treat_missing_header_as_empty = without
    return header


def _claim(path: tuple[str, ...], condition: StringMatch, *, without: bool = False) -> Any:
    anything = condition.kind is MatchKind.PRESENT or condition == StringMatch(MatchKind.PREFIX)
    value = claims.present() if anything else claims.text_or_entry(string(condition))
    return claims.claim(path, value, invert=without)


def _query(name: str, condition: StringMatch) -> Any:
    parameter = route_components_pb2.QueryParameterMatcher(name=name)
    if condition.kind is MatchKind.PRESENT or (condition.kind is MatchKind.PREFIX and not condition.value):
        parameter.present_match = True
    else:
        parameter.string_match.CopyFrom(string(condition))
    return parameter
