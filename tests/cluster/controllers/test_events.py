"""Events as people see them: counted, combined, and not without end."""

from datetime import timedelta
from typing import Any

import pytest
from tests.cluster.controllers.stage import START

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import PODS
from weft.cluster.controllers.events import Again, Correlator, New, Tell

POD = {"metadata": {"name": "p", "namespace": "default", "uid": "1"}}


def tell(message: str = "no room", **fields: Any) -> Tell:
    return Tell(POD, PODS, "Failed", message, "a-controller", **fields)


@pytest.fixture
def correlator() -> Correlator:
    return Correlator()


def new(outcome: New | Again | None) -> Json:
    assert isinstance(outcome, New)
    return outcome.event


def again(outcome: New | Again | None) -> Again:
    assert isinstance(outcome, Again)
    return outcome


def test_a_repeated_event_is_the_same_one_with_a_higher_count_and_a_later_time(correlator: Correlator) -> None:
    first = new(correlator.take(tell(), START))
    second = again(correlator.take(tell(), START + timedelta(seconds=30)))
    assert (first["count"], second.patch["count"]) == (1, 2)
    assert second.event["metadata"]["name"] == first["metadata"]["name"]
    assert second.event["firstTimestamp"] == "2026-01-01T00:00:00Z"
    assert second.patch["lastTimestamp"] == "2026-01-01T00:00:30Z"


def test_events_of_other_words_or_objects_are_events_of_their_own(correlator: Correlator) -> None:
    names = {new(correlator.take(tell(text), START))["metadata"]["name"] for text in ("one", "two")}
    other = {"metadata": POD["metadata"] | {"uid": "2"}}
    names.add(new(correlator.take(Tell(other, PODS, "Failed", "one", "a-controller"), START))["metadata"]["name"])
    assert len(names) == 3


def test_the_tenth_kind_of_words_for_one_reason_and_all_after_it_are_combined(correlator: Correlator) -> None:
    plain = [new(correlator.take(tell(f"pod {number}"), START))["message"] for number in range(9)]
    assert plain == [f"pod {number}" for number in range(9)]
    assert new(correlator.take(tell("pod 9"), START))["message"] == "(combined from similar events): pod 9"
    combined = again(correlator.take(tell("pod 10"), START))
    assert combined.patch["message"] == "(combined from similar events): pod 10"
    assert combined.patch["count"] == 2


def test_words_long_after_the_last_are_told_as_they_are_again(correlator: Correlator) -> None:
    for number in range(12):
        correlator.take(tell(f"pod {number}"), START)
    late = new(correlator.take(tell("pod 99"), START + timedelta(minutes=11)))
    assert late["message"] == "pod 99"


def test_a_flood_about_one_object_is_cut_and_trickles_on(correlator: Correlator) -> None:
    told = [correlator.take(tell(), START) for _ in range(30)]
    assert [outcome is not None for outcome in told] == [True] * 25 + [False] * 5
    later = START + timedelta(minutes=5)
    assert correlator.take(tell(), later) is not None
    assert correlator.take(tell(), later) is None


def test_the_schedulers_events_carry_their_action_and_repeat_as_a_series(correlator: Correlator) -> None:
    first = new(correlator.take(tell(action="Scheduling"), START))
    assert (first["eventTime"], first["action"]) == ("2026-01-01T00:00:00.000000Z", "Scheduling")
    assert not {"count", "firstTimestamp", "source"} & first.keys()
    second = again(correlator.take(tell(action="Scheduling"), START + timedelta(seconds=9)))
    assert second.patch == {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:09.000000Z"}}


def test_a_series_that_ended_begins_anew(correlator: Correlator) -> None:
    correlator.take(tell(action="Scheduling"), START)
    assert isinstance(correlator.take(tell(action="Scheduling"), START + timedelta(minutes=7)), New)
