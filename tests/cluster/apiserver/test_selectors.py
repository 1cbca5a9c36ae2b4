"""Label and field selectors: what they take, and what is said of those that cannot be read."""

import re
from typing import Any

import pytest

from weft.cluster.apiserver.errors import StatusError
from weft.cluster.apiserver.selectors import parse_fields, parse_labels

LABELS = {"app": "web", "tier": "", "number": "7"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "app",
        "!missing",
        "! missing",
        "app=web",
        "app == web",
        "app!=shop",
        "missing!=web",
        "app in (web, shop)",
        "app in(,web)",
        "tier in ()",
        "tier=",
        "app notin (shop)",
        "number>6,number<8",
        "app=web,tier,!missing",
    ],
)
def test_a_selector_takes_what_fits_all_of_its_terms(text: str) -> None:
    assert parse_labels(text).matches(LABELS)


@pytest.mark.parametrize("text", ["missing", "!app", "app=shop", "app in (shop)", "app notin (web)", "number>7"])
def test_a_selector_leaves_out_what_misses_a_term(text: str) -> None:
    assert not parse_labels(text).matches(LABELS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a=b,", "found '', expected: identifier after ','"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a>b", "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators"),
        ("a=$x", 'unable to parse requirement: values[0][a]: Invalid value: "$x": a valid label must be'),
        ("/a=b", 'unable to parse requirement: <nil>: Invalid value: "/a": prefix part must be non-empty'),
    ],
)
def test_what_cannot_be_read_is_named_in_kubernetes_words(text: str, says: str) -> None:
    with pytest.raises(StatusError, match=re.escape(says)):
        parse_labels(text)


@pytest.mark.parametrize(
    ("plural", "says"),
    [
        ("pods", "field label not supported: spec.colour"),
        ("jobs", 'field label "spec.colour" not supported for batchv1.Job'),
        ("deployments", '"spec.colour" is not a known field selector: only "metadata.name", "metadata.namespace"'),
    ],
)
def test_a_field_that_a_kind_is_not_selected_by_is_refused_in_the_kinds_own_words(plural: str, says: str) -> None:
    with pytest.raises(StatusError, match=re.escape(says)):
        parse_fields("spec.colour=red", plural)


def test_jobs_are_selected_by_how_many_of_their_pods_succeeded() -> None:
    done: dict[str, Any] = {"status": {"succeeded": 1}}
    fresh: dict[str, Any] = {"status": {}}
    assert parse_fields("status.successful=1", "jobs").matches(done)
    assert parse_fields("status.successful=0", "jobs").matches(fresh)
    assert not parse_fields("status.successful=1", "jobs").matches(fresh)
