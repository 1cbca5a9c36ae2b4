import pytest

from weft.base.regex import RegexError, compiled, fits


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("[", "missing closing ]: `[`"),
        ("(", "missing closing ): `(`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
        ("\\", "trailing backslash at end of expression"),
    ],
)
def test_what_is_no_expression_is_told_in_the_words_that_people_know(pattern: str, why: str) -> None:
    with pytest.raises(RegexError) as caught:
        compiled(pattern)
    assert str(caught.value) == why


def test_an_expression_that_would_run_away_elsewhere_is_quick() -> None:
    assert not fits("(a+)+", "a" * 100_000 + "b")


def test_the_whole_text_must_fit() -> None:
    assert fits("/v[0-9]+/.*", "/v12/x")
    assert not fits("/v[0-9]", "/v12")
