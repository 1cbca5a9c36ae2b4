from datetime import timedelta
from typing import Any

import pytest
import yaml
from tests.model.objects import route, service, snapshot_of, virtual_service

from weft.model.routing import Abort, Delay, HttpRoute, MatchKind, RequestMatch, Retries, StringMatch
from weft.model.services import Proxy
from weft.model.views import view


def translated(http: str) -> HttpRoute:
    more: dict[str, Any] = yaml.safe_load(http)
    snapshot = snapshot_of(service("web"), virtual_service("web", {**route("web"), **more}))
    [seen] = view(snapshot, Proxy("p", "shop", "10.244.0.6")).services
    [made] = seen.ports[0].routes.routes
    return made


@pytest.mark.parametrize(
    ("http", "expected"),
    [
        ("{}", None),
        ("{timeout: 1.5s}", timedelta(seconds=1.5)),
        ("{timeout: 0s}", None),
    ],
)
def test_a_route_without_timeout_has_no_limit(http: str, expected: timedelta | None) -> None:
    assert translated(http).timeout == expected


@pytest.mark.parametrize(
    ("http", "expected"),
    [
        ("{}", None),
        ("{retries: {}}", Retries(0)),
        (
            "{retries: {attempts: 3, perTryTimeout: 2s, retryOn: '5xx,503'}}",
            Retries(3, timedelta(seconds=2), "5xx,503"),
        ),
    ],
)
def test_retries_are_the_meshs_own_unless_written(http: str, expected: Retries | None) -> None:
    assert translated(http).retries == expected


@pytest.mark.parametrize(
    ("fault", "abort", "delay"),
    [
        ("{abort: {httpStatus: 500, percentage: {value: 0.5}}}", Abort(0.5, 500), None),
        ("{abort: {httpStatus: 500}}", None, None),
        ("{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 5}}}", Abort(5.0, grpc_status=14), None),
        ("{delay: {fixedDelay: 7s, percentage: {value: 10}}}", None, Delay(10.0, timedelta(seconds=7))),
        ("{delay: {fixedDelay: 7s, percent: 20}}", None, Delay(20.0, timedelta(seconds=7))),
        ("{delay: {fixedDelay: 7s, percent: 20, percentage: {value: 3}}}", None, Delay(3.0, timedelta(seconds=7))),
        ("{delay: {fixedDelay: 7s}}", None, None),
        (
            "{abort: {httpStatus: 503, percentage: {value: 1}}, delay: {fixedDelay: 1s, percentage: {value: 2}}}",
            Abort(1.0, 503),
            Delay(2.0, timedelta(seconds=1)),
        ),
    ],
)
def test_faults_hit_the_share_that_is_written_and_none_without(
    fault: str, abort: Abort | None, delay: Delay | None
) -> None:
    made = translated(f"{{fault: {fault}}}")
    assert (made.abort, made.delay) == (abort, delay)


def test_matches_become_values_with_lower_case_sorted_headers() -> None:
    match = """
    match:
      - name: one
        uri: {prefix: /A}
        ignoreUriCase: true
        headers: {X-B: {exact: v}, a: {}}
        withoutHeaders: {c: {regex: x.*}}
        queryParams: {q: {exact: "1"}}
      - uri: {regex: /A}
        ignoreUriCase: true
    """
    assert translated(match).matches == (
        RequestMatch(
            name="one",
            uri=StringMatch(MatchKind.PREFIX, "/A", ignore_case=True),
            headers=(("a", StringMatch(MatchKind.PRESENT)), ("x-b", StringMatch(MatchKind.EXACT, "v"))),
            without_headers=(("c", StringMatch(MatchKind.REGEX, "x.*")),),
            query=(("q", StringMatch(MatchKind.EXACT, "1")),),
        ),
        RequestMatch(uri=StringMatch(MatchKind.REGEX, "/A")),
    )


def test_a_rule_for_connections_only_leaves_requests_to_the_next() -> None:
    tls = [{"match": [{"sniHosts": ["web"]}], "route": [{"destination": {"host": "web"}}]}]
    snapshot = snapshot_of(
        service("web"),
        virtual_service("a", hosts=["web"], tls=tls, created="2026-01-01T00:00:00Z"),
        virtual_service("b", route("web"), hosts=["web"], created="2026-01-02T00:00:00Z"),
    )
    [seen] = view(snapshot, Proxy("p", "shop", "10.244.0.6")).services
    assert seen.ports[0].routes.rule == "b.shop"
