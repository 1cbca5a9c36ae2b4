from hypothesis import given
from hypothesis import strategies as st

from weft.processes.agent.identity import pause

chances = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), chances)
def test_pauses_between_attempts_are_neither_instant_nor_long(failures: int, chance: float) -> None:
    assert 0.1 <= pause(failures, chance) <= 10


@given(st.integers(1, 20), chances)
def test_pauses_do_not_shrink_while_failures_go_on(failures: int, chance: float) -> None:
    assert pause(failures + 1, chance) >= pause(failures, chance)


def test_proxies_that_failed_together_do_not_return_together() -> None:
    assert pause(5, 0.0) != pause(5, 0.9)
