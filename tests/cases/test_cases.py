"""Every case, by the model alone and by the resources that Envoy gets."""

import re
from pathlib import Path

import pytest
from tests.cases import endpoints, engine, patched
from tests.cases.engine import HERE, TABLES, Request, asks_for_leave, files, load, policies, request_headers

from weft.xds.simulate import NotUnderstoodError, Outcome

FILES = [pytest.param(path, id=str(path.relative_to(HERE).with_suffix(""))) for path in files()]
ALL = [
    pytest.param(path, id=str(path.relative_to(HERE).with_suffix("")))
    for path in files(edge=True)
    if path.parent.name not in TABLES
]


@pytest.mark.parametrize("path", FILES)
def test_the_model_sends_requests_where_the_case_says(path: Path) -> None:
    case = load(path)
    shown = (case.requests, case.policies, case.clusters, case.resources, case.chains, case.spread, case.secured)
    assert any(shown) or case.problems is not None
    for request in () if case.patched else case.requests:
        if asks_for_leave(request):
            continue
        assert engine.shares(request, case.view) == request.then, request
        assert engine.mirrors(request, case.view) == request.mirrors, request
    for host, expected in case.policies.items():
        assert policies(case, host) == expected


@pytest.mark.parametrize("path", FILES)
def test_envoys_resources_send_requests_where_the_case_says(path: Path) -> None:
    case = load(path)
    for request in case.requests:
        if request.simulator:
            with pytest.raises(NotUnderstoodError, match=re.escape(request.simulator)):
                engine.simulated(request, case.view)
            continue
        outcome = engine.simulated(request, case.view)
        if asks_for_leave(request):
            continue
        assert engine.outcome_shares(outcome) == request.then, request
        assert engine.outcome_mirrors(outcome) == request.mirrors, request
        if request.route:
            found = engine.route(request, case.view)
            assert engine.contains(found, request.route), (request, found)
        _becomes(request, outcome)
        _answers(request, outcome)


@pytest.mark.parametrize("path", ALL)
def test_clusters_are_as_the_case_says(path: Path) -> None:
    case = load(path)
    for destination, part in case.endpoints.items():
        told = engine.endpoints(case, destination)
        assert engine.contains(told, part), (destination, told)
    for destination, part in case.clusters.items():
        found = engine.cluster(case, destination)
        assert engine.contains(found, part), (destination, found)


@pytest.mark.parametrize("path", ALL)
def test_resources_are_as_the_case_says(path: Path) -> None:
    case = load(path)
    for kind, parts in case.resources.items():
        for name, part in parts.items():
            found = patched.resource(case, kind, name)
            assert found is None if part is None else engine.contains(found, part), (kind, name, found)
    for listener, names in case.filters.items():
        assert patched.http_filters(case, listener) == names, listener
    for listener, names in case.chains.items():
        assert patched.filter_chains(case, listener) == names, listener


@pytest.mark.parametrize("path", FILES)
def test_endpoints_get_the_shares_that_the_case_says(path: Path) -> None:
    case = load(path)
    for destination, shares in case.spread.items():
        assert endpoints.placed(case, destination) == shares, destination
        assert endpoints.simulated(case, destination) == shares, destination


@pytest.mark.parametrize("path", FILES)
def test_endpoints_are_reached_by_the_tls_that_the_case_says(path: Path) -> None:
    case = load(path)
    for destination, tls in case.secured.items():
        assert endpoints.secured(case, destination) == [tls], destination


@pytest.mark.parametrize("path", ALL)
def test_the_snapshot_has_the_problems_that_the_case_names(path: Path) -> None:
    case = load(path)
    if case.problems is not None:
        assert [[each.code, each.at.field] for each in case.snapshot.problems] == case.problems


def _becomes(request: Request, outcome: Outcome) -> None:
    wanted = request.becomes
    if "path" in wanted:
        assert outcome.path == wanted["path"], request
    if "host" in wanted:
        assert {each.host or outcome.host for each in outcome.shares} == {wanted["host"]}, request
    seen = request_headers(request, outcome)
    for name, value in wanted.get("headers", {}).items():
        assert seen.get(name) == value, (request, name)


def _answers(request: Request, outcome: Outcome) -> None:
    wanted = request.answer
    assert outcome.location == wanted.get("location", outcome.location), request
    assert outcome.body.decode() == wanted.get("body", outcome.body.decode()), request
    changes = [*(each.headers for each in outcome.shares), outcome.headers]
    changed = {name: value for each in changes for name, value in (*each.response_set, *each.response_add)}
    gone = {name for each in changes for name in each.response_remove}
    for name, value in wanted.get("headers", {}).items():
        if name in FROM_FILTERS:
            continue  # the simulator tells of routes' changes alone
        if value is None:
            assert name in gone, request
        else:
            assert changed.get(name) == value, request


FROM_FILTERS = {
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-allow-credentials",
    "access-control-expose-headers",
    "access-control-max-age",
    "server",
    "x-envoy-upstream-service-time",
    "grpc-status",
}
"""Headers of filters; only the real Envoy answers with them."""
