import pytest
from tests.cni.selection import CASES, Case, pod

from weft.model import enrolment
from weft.model.enrolment import CHECKS, Captured, Leave

EXCLUDED = ("kube-system", "istio-system")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_pod_is_captured_or_left_by_the_line_it_is_about(case: Case) -> None:
    found = enrolment.captured("kube-system" if case.excluded else "shop", case.pod, EXCLUDED)
    match found:
        case Captured():
            assert not case.reason
        case Leave(reason):
            assert case.reason
            assert case.reason in reason
    objecting = [check.name for check in CHECKS if check.reason(case.pod)]
    assert objecting == ([case.line] if case.reason and not case.excluded else [])


def test_the_table_has_both_outcomes_of_every_line() -> None:
    lines = {"namespace", *(check.name for check in CHECKS)}
    assert {case.line for case in CASES if case.reason} == lines
    # a pod on the host's network has no other outcome than the usual pod's
    assert {case.line for case in CASES if not case.reason} == lines - {"host network", "status"}


def test_an_excluded_namespace_comes_first() -> None:
    for case in CASES:
        assert enrolment.captured("istio-system", case.pod, EXCLUDED) == Leave(
            "namespace istio-system is excluded"
        )


def test_a_pod_without_anything_is_left_alone() -> None:
    for empty in ({}, {"metadata": None, "spec": None}, {"spec": {"containers": None}}):
        assert isinstance(enrolment.captured("shop", empty, ()), Leave)


def test_a_wish_that_is_neither_yes_nor_no_is_not_a_no() -> None:
    made = pod("unsure")
    made["metadata"]["labels"][enrolment.INJECT] = "perhaps"
    assert enrolment.captured("shop", made, ()) == Captured()
