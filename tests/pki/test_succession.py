"""One authority follows another: who is trusted, who signs, and when the old root leaves."""

from datetime import timedelta

from cryptography import x509
from tests.support.authorities import Operator, now

from weft.pki import pem, plugged, revocation, succession
from weft.pki.authority import Authority
from weft.pki.succession import INTRODUCTION, SETTLING, Succession

START = now()
HOUR = timedelta(hours=1)
DAY = timedelta(hours=24)
A, B, C = (plugged.read(Operator(name).data(), START) for name in "ABC")


def step(before: Succession | None, wanted: Authority, after: timedelta, *, confirmed: bool = False) -> Succession:
    signer = before.signer if before else None
    roots = before.roots if before else ()
    return succession.advance(roots, signer, wanted, now=START + after, confirmed=confirmed, lifetime=DAY)


def trusted(state: Succession) -> list[x509.Certificate]:
    return list(pem.load_certificates(state.trusted.roots))


def test_the_first_authority_signs_at_once() -> None:
    state = step(None, A, timedelta())
    assert state.signer is A
    assert trusted(state) == [A.roots[0]]


def test_the_next_signs_once_everybody_trusts_it_and_the_old_root_stays_for_what_it_vouches_for() -> None:
    state = step(step(None, A, timedelta()), B, HOUR)
    assert state.signer is A
    assert trusted(state) == [A.roots[0], B.roots[0]]
    assert step(state, B, HOUR + SETTLING / 2, confirmed=True).signer is A
    state = step(state, B, HOUR + SETTLING, confirmed=True)
    assert state.signer is B
    assert trusted(state) == [B.roots[0], A.roots[0]]
    assert trusted(step(state, B, HOUR + DAY)) == [B.roots[0], A.roots[0]]
    assert trusted(step(state, B, HOUR + DAY + INTRODUCTION + SETTLING)) == [B.roots[0]]


def test_who_says_nothing_is_waited_for_two_minutes() -> None:
    state = step(step(None, A, timedelta()), B, HOUR)
    assert step(state, B, HOUR + INTRODUCTION - timedelta(seconds=1)).signer is A
    assert step(state, B, HOUR + INTRODUCTION).signer is B


def test_a_third_that_comes_meanwhile_is_introduced_from_then_on_and_all_stay_trusted() -> None:
    state = step(step(None, A, timedelta()), B, HOUR)
    state = step(state, C, HOUR + timedelta(minutes=1))
    assert trusted(state) == [A.roots[0], C.roots[0], B.roots[0]]
    assert step(state, C, HOUR + INTRODUCTION).signer is A
    assert step(state, C, HOUR + timedelta(minutes=1) + INTRODUCTION).signer is C


def test_going_back_to_a_root_that_is_still_trusted_takes_no_time() -> None:
    state = step(step(step(None, A, timedelta()), B, HOUR), B, HOUR + INTRODUCTION)
    back = step(state, A, 2 * HOUR)
    assert back.signer is A
    assert {root.until is None for root in back.roots if root.certificate == A.roots[0]} == {True}


def test_another_intermediate_of_the_same_root_signs_at_once() -> None:
    operator = Operator("same")
    first = plugged.read(operator.data(), START)
    again = plugged.read(operator.data(), START)
    assert step(step(None, first, timedelta()), again, HOUR).signer is again


def test_nobody_signs_by_a_root_that_the_mesh_has_not_heard_of_after_a_restart() -> None:
    record = succession.loaded(succession.dumped(step(None, A, timedelta()).roots))
    state = succession.advance(record, None, B, now=START + HOUR, confirmed=True, lifetime=DAY)
    assert state.signer is None
    assert state.serving is B
    later = succession.advance(
        state.roots, None, B, now=START + HOUR + INTRODUCTION, confirmed=False, lifetime=DAY
    )
    assert later.signer is B
    assert trusted(later) == [B.roots[0], A.roots[0]]


def test_a_record_that_is_deleted_drops_the_roots_that_nobody_signs_by() -> None:
    state = step(step(step(None, A, timedelta()), B, HOUR), B, HOUR + INTRODUCTION)
    forgotten = succession.advance((), state.signer, B, now=START + 2 * HOUR, confirmed=False, lifetime=DAY)
    assert trusted(forgotten) == [B.roots[0]]
    assert forgotten.signer is B


def test_lists_are_given_out_when_every_authority_has_one() -> None:
    one, two = Operator("one"), Operator("two")
    plain = plugged.read(one.data(), START)
    listed = plugged.read(one.data(ca_crl=one.lists()), START)
    other = plugged.read(two.data(ca_crl=two.lists()), START)
    assert step(None, plain, timedelta()).trusted.revoked == ""
    both = step(step(None, listed, timedelta()), other, HOUR)
    assert len(revocation.load(both.trusted.revoked)) == 4
    # whoever the one without a list certified would be refused by all
    assert step(step(None, plain, timedelta()), other, HOUR).trusted.revoked == ""
    # the lists of a root stay with it
    later = step(both, other, HOUR + INTRODUCTION)
    again = succession.loaded(succession.dumped(later.roots))
    assert len(revocation.load(Succession(other, other, again).trusted.revoked)) == 4
