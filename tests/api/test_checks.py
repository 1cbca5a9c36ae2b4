import pytest

from weft.api.checks import check_export_to, check_labels, check_regex
from weft.api.report import Report
from weft.base.problem import At

REPORT = Report(At())


@pytest.mark.parametrize(
    "pattern",
    [
        "abc.*",
        "(?i)abc",
        "a(?i)b",
        "(?s-i:a)b",
        "(?P<name>a+)",
        r"\pL+\p{Greek}\P{^Lu}",
        r"[\p{Lu}[:digit:]]",
        "[[:alpha:]]+",
        r"\Qa(b\E*|c",
        r"end\z",
        r"\d{2,3}\.\w+\bx??",
        r"\(?=a",
        r"a\\1?",
        "[a*+]+",
        r"a*\.+",
    ],
)
def test_what_re2_takes_is_accepted(pattern: str) -> None:
    assert [str(each) for each in check_regex(pattern, "f", REPORT)] == []


@pytest.mark.parametrize(
    "pattern", ["(", "a**", "[a", "(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", r"(a)\1", "a++", "(?>a)", "*"]
)
def test_what_re2_refuses_is_refused(pattern: str) -> None:
    [problem] = check_regex(pattern, "f", REPORT)
    assert (problem.code, problem.at.field) == ("IST0122", "f")
    assert pattern in problem.message


def test_labels_are_those_that_pods_can_have() -> None:
    assert not list(check_labels({"app": "web", "app.kubernetes.io/name": "", "x/y_Z": "1.0-a"}, "f", REPORT))
    assert [each.at.field for each in check_labels({"a b": "x", "ok": "-x"}, "f", REPORT)] == ["f", "f.ok"]


def test_an_export_names_namespaces() -> None:
    assert not list(check_export_to(("*", ".", "~", "shop"), "f", REPORT))
    assert [each.at.field for each in check_export_to((".", "Shop"), "f", REPORT)] == ["f[1]"]
