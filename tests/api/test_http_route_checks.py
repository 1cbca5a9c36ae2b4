"""What is said of redirects, answers, rewrites, mirrors, cross-origin rules and header changes."""

from typing import Any

import pytest
import yaml

from weft.api.decode import check, decode
from weft.api.virtual_service import VirtualService

OUTCOMES = {"redirect", "directResponse", "delegate"}
BIG = "x" * (2**20 + 1)


def said(http: str) -> list[tuple[str, str]]:
    """Severities and fields below spec.http[0]; a route is added where the entry has no other outcome."""
    entry: dict[str, Any] = yaml.safe_load(http)
    if not OUTCOMES & entry.keys():
        entry["route"] = [{"destination": {"host": "web"}}]
    obj = {"kind": "VirtualService", "metadata": {"name": "web"}, "spec": {"hosts": ["web"], "http": [entry]}}
    decoded = decode(VirtualService, obj)
    found = decoded if isinstance(decoded, tuple) else check(decoded)
    return [(each.severity.value, each.at.field.removeprefix("spec.http[0]").removeprefix(".")) for each in found]


@pytest.mark.parametrize(
    "http",
    [
        "redirect: {uri: '%PREFIX()%/b', redirectCode: 308}",
        "redirect: {derivePort: FROM_PROTOCOL_DEFAULT, scheme: https}",
        "directResponse: {status: 200, body: {bytes: aGVsbG8=}}",
        "delegate: {name: other}",
        r"rewrite: {uriRegexRewrite: {match: '(?i)(?P<a>b)(\()', rewrite: '\0\1\2\\'}, authority: 'a:80'}",
        "mirror: {host: a}\nmirrorPercentage: {value: 0.5}",
        "corsPolicy: {allowOrigins: [{regex: .*}], allowMethods: ['*'], maxAge: 0s}",
        "headers: {request: {set: {Host: a, x: '%REQ(a)%%%%START_TIME(%Y)%'}, remove: [x-b]}}",
    ],
)
def test_a_good_route_gets_not_a_word(http: str) -> None:
    assert said(http) == []


@pytest.mark.parametrize(
    ("http", "severity", "field"),
    [
        ("match: [{statPrefix: ''}]", "Error", "match[0].statPrefix"),
        ("fault: {abort: {grpcStatus: AWAY, percentage: {value: 1}}}", "Error", "fault.abort.grpcStatus"),
        ("redirect: {}", "Error", "redirect"),
        ("redirect: {uri: /, prefixRewrite: /}", "Error", "redirect"),
        ("redirect: {port: 80, derivePort: FROM_REQUEST_PORT}", "Error", "redirect"),
        ("redirect: {uri: /, redirectCode: 304}", "Error", "redirect.redirectCode"),
        ("redirect: {scheme: 'h t'}", "Error", "redirect.scheme"),
        ("redirect: {authority: 'a/b'}", "Error", "redirect.authority"),
        ("{redirect: {uri: /}, rewrite: {uri: /}}", "Error", ""),
        ("{redirect: {uri: /}, fault: {abort: {httpStatus: 500, percentage: {value: 1}}}}", "Error", ""),
        ("{redirect: {uri: /}, directResponse: {status: 200}}", "Error", ""),
        ("directResponse: {status: 600}", "Error", "directResponse.status"),
        ("directResponse: {status: 200, body: {bytes: '?'}}", "Error", "directResponse.body.bytes"),
        ("directResponse: {status: 200, body: {bytes: '', string: a}}", "Error", "directResponse.body"),
        (f"directResponse: {{status: 200, body: {{string: {BIG}}}}}", "Error", "directResponse.body"),
        ("delegate: {}", "Error", "delegate.name"),
        ("rewrite: {}", "Error", "rewrite"),
        ("rewrite: {uri: a}", "Warning", "rewrite.uri"),
        ("rewrite: {uri: /, uriRegexRewrite: {match: a}}", "Error", "rewrite"),
        ("rewrite: {uriRegexRewrite: {match: '(', rewrite: b}}", "Error", "rewrite.uriRegexRewrite.match"),
        (r"rewrite: {uriRegexRewrite: {match: (a), rewrite: '\2'}}", "Error", "rewrite.uriRegexRewrite.rewrite"),
        ("mirrorPercentage: {value: 1}", "Warning", "mirrorPercentage"),
        ("{mirror: {host: a}, mirror_percent: 1}", "Warning", "mirror_percent"),
        ("{mirror: {host: a b}}", "Error", "mirror.host"),
        ("{mirror: {host: a}, mirrors: [{destination: {host: b}}]}", "Error", ""),
        ("{mirror: {host: a}, mirrorPercent: 101}", "Error", "mirrorPercent"),
        ("headers: {request: {set: {':path': b}}}", "Error", 'headers.request.set[":path"]'),
        ("headers: {request: {remove: [Host]}}", "Error", "headers.request.remove[0]"),
        ("headers: {response: {set: {Host: b}}}", "Error", "headers.response.set.Host"),
        ("headers: {request: {set: {a: 5%}}}", "Error", "headers.request.set.a"),
        ('headers: {request: {set: {a: "b\\nc"}}}', "Error", "headers.request.set.a"),
        ("headers: {response: {add: {a: '%REK(x)%'}}}", "Error", "headers.response.add.a"),
        ("corsPolicy: {}", "Warning", "corsPolicy"),
        ("corsPolicy: {allowOrigin: ['*']}", "Warning", "corsPolicy.allowOrigin"),
        ("corsPolicy: {allowOrigins: [{}]}", "Error", "corsPolicy.allowOrigins[0]"),
        ("corsPolicy: {allowOrigins: [{exact: a}], maxAge: 1.5s}", "Error", "corsPolicy.maxAge"),
        ("corsPolicy: {allowOrigins: [{exact: a}], allowMethods: [G E]}", "Error", "corsPolicy.allowMethods[0]"),
    ],
)
def test_an_outcome_is_checked_field_by_field(http: str, severity: str, field: str) -> None:
    assert said(http) == [(severity, field)]
