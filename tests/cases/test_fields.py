"""Every field that is acted on has a case, and the page says which."""

from tests.cases.fields import PAGE, ROOT, gaps, page


def test_every_field_and_every_choice_has_a_case() -> None:
    assert gaps() == []


def test_the_page_of_fields_is_written_anew_when_they_change() -> None:
    before, now = PAGE.read_text() if PAGE.exists() else "", page()
    if before != now:
        PAGE.write_text(now)
    assert before == now, f"{PAGE.relative_to(ROOT)} was out of date and has been rewritten: look at the change"
