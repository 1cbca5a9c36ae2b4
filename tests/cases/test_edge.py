"""Every case of gateways, by the model, by the resources that Envoy gets, and by the real Envoy."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from tests.cases import engine
from tests.cases.edge import EdgeRequest, by_model, load_edge, outcome_shares, simulated
from tests.cases.edge_in_envoy import EdgeAnswer, Gateway, gateway
from tests.cases.engine import EDGE, HERE, asks_for_leave
from tests.cases.in_envoy import Place, place
from tests.support.envoy import open_to_proxies

from weft.xds.simulate import NotUnderstoodError, Outcome

TRIES = 40
"""Requests where shares divide them: one of a fifth is missed once in ten thousand runs."""
FILES = [
    pytest.param(path, id=f"{folder}/{path.stem}")
    for folder in EDGE
    for path in sorted((HERE / folder).glob("*.yaml"))
]
BY_THE_PROXY = ("x-forwarded-", "x-envoy-", "server")
"""Headers that do not come of routes; only the real Envoy sets them."""


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place("weft-edge", capture=False) as made:
        yield made


@pytest.mark.parametrize("path", FILES)
def test_the_model_and_envoys_resources_send_requests_where_the_case_says(path: Path) -> None:
    edge = load_edge(path)
    for asked in edge.requests:
        if asks_for_leave(asked.request):
            continue
        assert by_model(asked, edge) == asked.request.then, asked
        if asked.request.simulator:
            with pytest.raises(NotUnderstoodError, match=re.escape(asked.request.simulator)):
                simulated(asked, edge)
            continue
        outcome = simulated(asked, edge)
        assert outcome_shares(outcome) == asked.request.then, (asked, outcome)
        if asked.protocol is not None and asked.server_name is not None and not outcome.refused:
            assert (outcome.protocol or "http/1.1") == asked.protocol, asked
        _check_outcome(asked, outcome)


@pytest.mark.parametrize("path", FILES)
def test_envoy_sends_requests_where_the_case_says(path: Path, here: Place, tmp_path: Path) -> None:
    edge = load_edge(path, str(tmp_path / "certs"))
    open_to_proxies(tmp_path)
    with gateway(edge, here, tmp_path / "certs") as (proxy, _):
        for asked in edge.requests:
            _check(proxy, asked)


def _check_outcome(asked: EdgeRequest, outcome: Outcome) -> None:
    wanted, answer = asked.request.becomes, asked.request.answer
    assert outcome.path == wanted.get("path", outcome.path), asked
    if "host" in wanted:
        assert {each.host or outcome.host for each in outcome.shares} == {wanted["host"]}, asked
    seen = engine.request_headers(asked.request, outcome)
    for name, value in wanted.get("headers", {}).items():
        assert name.startswith(BY_THE_PROXY) or seen.get(name) == value, (asked, name)
    assert outcome.location == answer.get("location", outcome.location), asked
    assert outcome.body.decode() == answer.get("body", outcome.body.decode()), asked


def _check(proxy: Gateway, asked: EdgeRequest) -> None:
    shares = dict(asked.request.then)
    tries = TRIES if len(shares) > 1 else 1
    if not asked.is_request:
        _all_of(shares, {proxy.connect(asked) for _ in range(tries)}, asked)
        return
    answers = [proxy.ask(asked) for _ in range(tries)]
    _all_of(shares, {proxy.destination(each) for each in answers}, asked)
    if asked.protocol is not None:
        assert answers[0].protocol == asked.protocol, asked
    _check_answer(answers[0], asked)


def _all_of(shares: dict[str, float], found: set[str], asked: EdgeRequest) -> None:
    assert found <= set(shares), (asked, found)
    assert {name for name, share in shares.items() if share >= 20} <= found, (asked, found)


def _check_answer(answer: EdgeAnswer, asked: EdgeRequest) -> None:
    wanted = asked.request.becomes
    if wanted:
        assert answer.seen is not None, (asked, answer)
        assert answer.seen.path == wanted.get("path", answer.seen.path), asked
        assert answer.seen.headers["host"] == wanted.get("host", answer.seen.headers["host"]), asked
        for name, value in wanted.get("headers", {}).items():
            given = answer.seen.headers.get(name)
            assert (given is None) if value is None else fnmatchcase(given or "", value), (asked, name, given)
    if "location" in asked.request.answer:
        assert answer.headers["location"] == [asked.request.answer["location"]], asked
    assert answer.body.decode() == asked.request.answer.get("body", answer.body.decode()), asked
    for name, value in asked.request.answer.get("headers", {}).items():
        assert answer.headers.get(name) == (None if value is None else [value]), (asked, name, answer.headers)
