from pathlib import Path

import pytest
from tests.cases.engine import HERE, files, load, policies, shares, simulated

FILES = [pytest.param(path, id=str(path.relative_to(HERE).with_suffix(""))) for path in files()]


@pytest.mark.parametrize("path", FILES)
def test_the_model_sends_requests_where_the_case_says(path: Path) -> None:
    case = load(path)
    assert case.requests or case.policies or case.problems is not None
    for request in case.requests:
        assert shares(request, case.view) == request.then, request
    for host, expected in case.policies.items():
        assert policies(case, host) == expected


@pytest.mark.parametrize("path", FILES)
def test_envoys_resources_send_requests_where_the_case_says(path: Path) -> None:
    case = load(path)
    for request in case.requests:
        assert simulated(request, case.view) == request.then, request


@pytest.mark.parametrize("path", FILES)
def test_the_snapshot_has_the_problems_that_the_case_names(path: Path) -> None:
    case = load(path)
    if case.problems is not None:
        assert [[each.code, each.at.field] for each in case.snapshot.problems] == case.problems
