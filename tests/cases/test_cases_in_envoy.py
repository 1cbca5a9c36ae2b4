"""Every case with requests, by the real Envoy."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cases.engine import HERE, Request, files, load
from tests.cases.in_envoy import Place, Sidecar, crowd, place, sidecar

TRIES = 60
"""Requests where shares divide them: one of a fifth is missed once in a million runs."""
CROWD = 200
TOLERANCE = 15
"""In percent points: more than four standard deviations of a share of half of so many requests."""
SPREAD = [
    pytest.param(path, id=str(path.relative_to(HERE).with_suffix(""))) for path in files() if load(path).spread
]
FILES = [pytest.param(path, id=str(path.relative_to(HERE).with_suffix(""))) for path in files()]


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        yield made


@pytest.mark.parametrize("path", FILES)
def test_envoy_sends_requests_where_the_case_says(path: Path, here: Place) -> None:
    case = load(path)
    with sidecar(case, here) as proxy:
        for request in case.requests:
            _check(proxy, request)


@pytest.mark.parametrize("path", SPREAD)
def test_envoy_spreads_requests_as_the_case_says(path: Path, here: Place) -> None:
    case = load(path)
    with crowd(case, here) as ask:
        for destination, shares in case.spread.items():
            found = ask(destination, CROWD if len(shares) > 1 else 10)
            assert set(found) == set(shares), (destination, found)
            for endpoint, share in shares.items():
                assert abs(100 * found[endpoint] / found.total() - share) < TOLERANCE, (destination, found)


def _check(proxy: Sidecar, request: Request) -> None:
    shares = dict(request.then)
    answer = proxy.ask(request)
    found = {proxy.destination(answer)}
    if len(shares) > 1:
        found |= {proxy.destination(proxy.ask(request)) for _ in range(TRIES)}
        assert {name for name, share in shares.items() if share >= 20} <= found, (request, found)
    assert found <= set(shares), (request, found)
    if request.mirrors:
        proxy.ask(request)
        whole = [name for name, share in request.mirrors if share == 100]
        assert proxy.mirrored(len(whole)) >= Counter(whole), request
    wanted = request.becomes
    if wanted:
        assert answer.seen is not None, (request, answer)
        assert answer.seen.path == wanted.get("path", answer.seen.path), request
        assert answer.seen.headers["host"] == wanted.get("host", answer.seen.headers["host"]), request
        for name, value in wanted.get("headers", {}).items():
            assert answer.seen.headers.get(name) == value, (request, name, answer.seen)
    if "location" in request.answer:
        assert answer.headers["location"] == [request.answer["location"]], request
    assert answer.body.decode() == request.answer.get("body", answer.body.decode()), request
    for name, value in request.answer.get("headers", {}).items():
        given = answer.headers.get(name)
        assert given == (None if value is None else [value]), (request, name, given)
