"""The codes that problems carry."""

from weft.api import codes


def test_no_two_kinds_of_trouble_share_a_code() -> None:
    known = [value for name, value in vars(codes).items() if name.isupper()]
    assert known
    assert len(set(known)) == len(known)
