"""What must hold of an HTTP route's outcome: one and only one, and made so that Envoy takes it."""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator
from typing import Final

from weft.api import codes
from weft.api.checks import check_comparison, check_duration, check_host, check_regex
from weft.api.header_checks import check_headers
from weft.api.report import Report
from weft.api.virtual_service import CorsPolicy, DirectResponse, HttpRoute, Redirect, RegexRewrite, Rewrite
from weft.base.durations import parse_duration
from weft.base.names import is_header_name
from weft.base.problem import Problem
from weft.base.regex import compiled

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MAX_BODY: Final = 1 << 20  # bytes, as the route tables are told to take
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_AUTHORITY: Final = re.compile(r"[^\s/?#@]+")
_GROUP: Final = re.compile(r"\\(.?)", re.DOTALL)
_HUNDRED: Final = 100


def check(route: HttpRoute, field: str, report: Report) -> Iterator[Problem]:
    """Give what is wrong with what becomes of the requests of a route."""
    yield from _one_outcome(route, field, report)
    if route.redirect is not None:
        yield from _redirect(route.redirect, f"{field}.redirect", report)
    if route.direct_response is not None:
        yield from _answer(route.direct_response, f"{field}.directResponse", report)
    if route.delegate is not None and not route.delegate.name:
        hint = "Write the name of a VirtualService without hosts."
        yield report.error(f"{field}.delegate.name", "there is no name.", hint)
    if route.rewrite is not None:
        yield from _rewrite(route.rewrite, f"{field}.rewrite", report)
    if route.cors_policy is not None:
        yield from _cors(route.cors_policy, f"{field}.corsPolicy", report)
    yield from _mirrors(route, field, report)
    yield from check_headers(route.headers, f"{field}.headers", report)
    for index, each in enumerate(route.route):
        yield from check_headers(each.headers, f"{field}.route[{index}].headers", report)


def _one_outcome(route: HttpRoute, field: str, report: Report) -> Iterator[Problem]:
    outcomes = {
        "route": bool(route.route),
        "redirect": route.redirect is not None,
        "directResponse": route.direct_response is not None,
        "delegate": route.delegate is not None,
    }
    given = [name for name, is_given in outcomes.items() if is_given]
    if not given:
        yield report.error(field, "nothing says where the requests go.", "Add a route with a destination.")
    elif len(given) > 1:
        yield report.error(field, f"{' and '.join(given)} exclude each other.", "Keep one of them.")
    if route.redirect is not None:
        for name, value in (("rewrite", route.rewrite), ("fault", route.fault)):
            if value is not None:
                yield report.error(field, f"redirect and {name} exclude each other.", "Keep one of them.")


def _redirect(redirect: Redirect, field: str, report: Report) -> Iterator[Problem]:
    changes = (redirect.uri, redirect.prefix_rewrite, redirect.authority, redirect.scheme, redirect.port)
    if not any(changes) and redirect.derive_port is None:
        hint = "Add uri, authority, scheme or port."
        yield report.error(field, "nothing changes, so clients would go in circles.", hint)
    if redirect.uri is not None and redirect.prefix_rewrite is not None:
        yield report.error(field, "uri and prefixRewrite exclude each other.", "Keep one of them.")
    if redirect.port is not None and redirect.derive_port is not None:
        yield report.error(field, "port and derivePort exclude each other.", "Keep one of them.")
    code = redirect.redirect_code
    if code is not None and code not in _REDIRECTS:
        hint = f"Use one of {', '.join(map(str, _REDIRECTS))}."
        yield report.error(f"{field}.redirectCode", f"{code} is no redirect.", hint)
    if redirect.scheme and not _SCHEME.fullmatch(redirect.scheme):
        yield report.error(f"{field}.scheme", f'"{redirect.scheme}" is no scheme.', "Write http or https.")
    yield from _authority(redirect.authority, f"{field}.authority", report)


def _answer(response: DirectResponse, field: str, report: Report) -> Iterator[Problem]:
    body = response.body
    if body is None:
        return
    if body.string is not None and body.bytes is not None:
        yield report.error(f"{field}.body", "string and bytes exclude each other.", "Keep one of them.")
    size = len((body.string or "").encode())
    if body.bytes is not None:
        try:
            size = len(b64decode(body.bytes, validate=True))
        except (NotBase64, ValueError):
            yield report.error(f"{field}.body.bytes", "is not base64.", "Write text as string: instead.")
    if size > _MAX_BODY:
        yield report.error(f"{field}.body", f"has {size} bytes, more than {_MAX_BODY}.", "Serve it from a pod.")


def _rewrite(rewrite: Rewrite, field: str, report: Report) -> Iterator[Problem]:
    if not (rewrite.uri or rewrite.authority or rewrite.uri_regex_rewrite):
        yield report.error(field, "says not what to rewrite.", "Add uri, uriRegexRewrite or authority.")
    if rewrite.uri and rewrite.uri_regex_rewrite:
        yield report.error(field, "uri and uriRegexRewrite exclude each other.", "Keep one of them.")
    if rewrite.uri and not rewrite.uri.startswith("/"):
        message = f'paths begin with a slash, "{rewrite.uri}" does not.'
        yield report.warning(f"{field}.uri", message, f"Write /{rewrite.uri}, unless the match is of /.")
    if rewrite.uri_regex_rewrite is not None:
        yield from _regex(rewrite.uri_regex_rewrite, f"{field}.uriRegexRewrite", report)
    yield from _authority(rewrite.authority, f"{field}.authority", report)


def _regex(regex: RegexRewrite, field: str, report: Report) -> Iterator[Problem]:
    if not regex.match:
        yield report.error(f"{field}.match", "the expression is empty.", "Write one.", codes.BAD_REGEX)
        return
    found = tuple(check_regex(regex.match, f"{field}.match", report))
    yield from found
    if found:
        return
    groups = compiled(regex.match).groups
    for escaped in _GROUP.findall(regex.rewrite):
        if escaped != "\\" and not (escaped.isdigit() and int(escaped) <= groups):
            hint = f"\\0 is all that matched, \\1 the first group; there are {groups}."
            yield report.error(f"{field}.rewrite", f'"\\{escaped}" stands for nothing.', hint, codes.BAD_REGEX)


def _authority(authority: str | None, field: str, report: Report) -> Iterator[Problem]:
    if authority and not _AUTHORITY.fullmatch(authority):
        yield report.error(field, f'"{authority}" is no host.', "Write a host name, with a port if need be.")


def _mirrors(route: HttpRoute, field: str, report: Report) -> Iterator[Problem]:
    if route.mirror is not None and route.mirrors:
        yield report.error(field, "mirror and mirrors exclude each other.", "Put all into mirrors.")
    if route.mirror is not None:
        yield from check_host(route.mirror.host, f"{field}.mirror.host", report, wildcard=False)
    for index, each in enumerate(route.mirrors):
        at = f"{field}.mirrors[{index}].destination.host"
        yield from check_host(each.destination.host, at, report, wildcard=False)
    shares = {
        "mirrorPercent": route.mirror_percent,
        "mirror_percent": route.mirror_percent_old,
        "mirrorPercentage": route.mirror_percentage,
    }
    given = [name for name, share in shares.items() if share is not None]
    if given and route.mirror is None:
        yield report.warning(f"{field}.{given[0]}", "there is no mirror.", "Add mirror, or take it out.")
    if len(given) > 1:
        yield report.error(field, f"{' and '.join(given)} exclude each other.", "Keep mirrorPercentage.")
    for name, share in list(shares.items())[:2]:
        if isinstance(share, int) and share > _HUNDRED:
            yield report.error(f"{field}.{name}", f"{share} is more than 100 percent.", "Write 0 to 100.")
        elif share is not None:
            hint = f"Write mirrorPercentage: {{value: {share}}}."
            yield report.warning(f"{field}.{name}", "is deprecated.", hint, codes.DEPRECATED)


def _cors(policy: CorsPolicy, field: str, report: Report) -> Iterator[Problem]:
    if policy.allow_origin:
        hint = "Write allowOrigins: [{exact: …}]."
        yield report.warning(f"{field}.allowOrigin", "is deprecated.", hint, codes.DEPRECATED)
    if policy.allow_origin and policy.allow_origins:
        yield report.error(field, "allowOrigin and allowOrigins exclude each other.", "Keep allowOrigins.")
    for index, each in enumerate(policy.allow_origins):
        yield from check_comparison(each, f"{field}.allowOrigins[{index}]", report, presence=False)
    if not (policy.allow_origins or policy.allow_origin):
        hint = "Add allowOrigins."
        yield report.warning(field, "allows no origin, so it allows nothing.", hint)
    lists = {
        "allowMethods": policy.allow_methods,
        "allowHeaders": policy.allow_headers,
        "exposeHeaders": policy.expose_headers,
    }
    for name, words in lists.items():
        for index, word in enumerate(words):
            if word != "*" and not is_header_name(word):
                hint = "Use letters, digits and dashes."
                yield report.error(f"{field}.{name}[{index}]", f'"{word}" is not such a name.', hint)
    yield from check_duration(policy.max_age, f"{field}.maxAge", report, zero=True)
    if policy.max_age is not None and not tuple(check_duration(policy.max_age, "", report, zero=True)):
        rest = parse_duration(policy.max_age).microseconds
        if rest:
            yield report.error(f"{field}.maxAge", "browsers count in whole seconds.", "Write 1s or more.")
