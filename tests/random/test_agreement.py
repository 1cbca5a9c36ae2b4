"""Random configurations: Envoy takes all of them, and does with requests what was simulated.

Three hundred of them, or as many as WEFT_RANDOM says (`make long`: a thousand).
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.random import rounds
from tests.random.rounds import Rounds
from tests.random.worlds import World, world, world_outside

WORLDS = int(os.environ.get("WEFT_RANDOM", "300"))
AT_ONCE = 10
"""Worlds that share a cluster, and so an Envoy's configuration."""


def configurations(count: int) -> settings:
    """Settings for a number of worlds. They are the same in each run, so that nobody meets another's find."""
    return settings(
        max_examples=count // AT_ONCE,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],  # shrinking takes a real Envoy minutes; the message has all that is needed
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Rounds]:
    with rounds.beside_a_client() as made:
        yield made


@configurations(WORLDS * 7 // 10)
@given(st.tuples(*(world(number) for number in range(AT_ONCE))))
@pytest.mark.timeout(200 + WORLDS)
def test_a_sidecar_does_what_was_simulated(sidecar: Rounds, worlds: tuple[World, ...]) -> None:
    sidecar.play(worlds)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Rounds]:
    with rounds.at_the_edge() as made:
        yield made


@configurations(WORLDS * 3 // 10)
@given(st.tuples(*(world_outside(number) for number in range(AT_ONCE))))
@pytest.mark.timeout(200 + WORLDS)
def test_a_gateway_does_what_was_simulated(gateway: Rounds, worlds: tuple[World, ...]) -> None:
    gateway.play(worlds)
