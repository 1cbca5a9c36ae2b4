"""Every case with connections, by the model, by the resources that Envoy gets, and by the real Envoy."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.cases.connections import by_model, by_simulator, load_connections
from tests.cases.connections_in_envoy import answer, dialled, reached
from tests.cases.engine import HERE, files
from tests.cases.in_envoy import Place, place, sidecar

TRIES = 40
"""Connections where shares divide them: one of a fifth is missed once in ten thousand runs."""
FILES = [
    pytest.param(path, id=str(path.relative_to(HERE).with_suffix("")))
    for path in files()
    if "connections" in yaml.safe_load(path.read_text())
]


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        yield made


@pytest.mark.parametrize("path", FILES)
def test_the_model_and_envoys_resources_send_connections_where_the_case_says(path: Path) -> None:
    case, connections = load_connections(path)
    for each in connections:
        assert by_model(each, case) == each.then, each
        assert by_simulator(each, case) == each.then, each


@pytest.mark.parametrize("path", FILES)
def test_envoy_sends_connections_where_the_case_says(path: Path, here: Place) -> None:
    case, connections = load_connections(path)
    with sidecar(case, here) as proxy, dialled(here, {each.port for each in connections}):
        for each in connections:
            shares = {answer(key, each, case): share for key, share in each.then}
            found = {reached(proxy, each)}
            if len(shares) > 1:
                found |= {reached(proxy, each) for _ in range(TRIES)}
                assert {name for name, share in shares.items() if share >= 20} <= found, (each, found)
            assert found <= set(shares), (each, found)
