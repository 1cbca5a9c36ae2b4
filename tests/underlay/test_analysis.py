"""What is wrong with underlay networks, told before it hurts: the table analysis.yaml."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from weft.underlay.analysis import Objects, problems

Json = dict[str, Any]
TABLE = yaml.safe_load((Path(__file__).parent / "analysis.yaml").read_text())


def by_kind(*texts: str) -> dict[str, list[Json]]:
    """Objects by kind; of two of one name the later counts."""
    found: dict[str, dict[tuple[str, str], Json]] = {}
    for each in loaded(texts):
        meta = each["metadata"]
        found.setdefault(each["kind"], {})[meta.get("namespace", ""), meta["name"]] = each
    return {kind: list(named.values()) for kind, named in found.items()}


def loaded(texts: Iterable[str]) -> Iterable[Json]:
    for text in texts:
        yield from filter(None, yaml.safe_load_all(text))


@pytest.mark.parametrize("case", TABLE["cases"])
def test_what_does_not_fit_is_told_of_with_its_place(case: str) -> None:
    given = TABLE["cases"][case]
    said = [str(each) for each in problems(Objects(by_kind(TABLE["usual"], given["objects"])))]
    expected: list[str] = given["says"]
    assert len(said) == len(expected), said
    for each in expected:
        assert any(each in line for line in said), (each, said)


def test_without_a_coordinator_that_is_the_trouble() -> None:
    (said,) = problems(Objects())
    assert str(said).startswith("Error [WEFT0013] (SpiderCoordinator/default): there is none")


def test_all_that_is_told_of_has_a_way_out() -> None:
    everything = [TABLE["usual"], *(case["objects"] for case in TABLE["cases"].values())]
    told = problems(Objects(by_kind(*everything)))
    assert len(told) > 8
    assert [str(each) for each in told if not each.hint] == []
