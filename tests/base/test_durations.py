from datetime import timedelta

import pytest

from weft.base.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2s", 2),
        ("0", 0),
        ("0s", 0),
        ("1h1m1s", 3661),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        (".5s", 0.5),
        ("10us", 1e-5),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "2", "s", "2 s", "-1s", "1d", "two", "1s2", "٢s", "9" * 30 + "h"])
def test_what_is_no_duration_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
