"""The functions that Kubernetes adds to CEL, and errors in its words."""

import re
from typing import Any

import pytest

from weft.cluster.apiserver.cel.engine import CompileError, Engine, EvaluationError, uses
from weft.cluster.apiserver.cel.types import DYN, Types, escape

_SELF = {"replicas": 3, "tags": ["a", "b"], "text": "aab", "a__dash__b": "x"}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("quantity('1Gi').isGreaterThan(quantity('1Mi'))", True),
        ("quantity('1024Mi') == quantity('1Gi')", True),
        ("quantity('1k').add(quantity('1')).asInteger()", 1001),
        ("quantity('50M').sub(20).asInteger()", 49999980),
        ("quantity('100m').asApproximateFloat()", 0.1),
        ("isQuantity('1.5x') || quantity('-1').sign() != -1", False),
        ("quantity('2').compareTo(quantity('3'))", -1),
        ("semver('1.0.0-rc.1').isLessThan(semver('1.0.0'))", True),
        ("semver('v1.2', true).minor()", 2),
        ("isSemver('v1.2')", False),
        ("ip('::1').isLoopback() && ip('10.0.0.1').isGlobalUnicast()", True),
        ("ip('1.2.3.4').family() + ip('::2').family()", 10),
        ("ip.isCanonical('0::1')", False),
        ("isIP('1.2.3') || isIP('::ffff:1.2.3.4')", False),
        ("cidr('10.0.0.0/8').containsIP('10.9.9.9')", True),
        ("cidr('10.0.0.0/8').containsCIDR(cidr('11.0.0.0/16'))", False),
        ("string(cidr('10.1.2.3/8').masked().ip())", "10.0.0.0"),
        ("cidr('10.1.2.3/8').prefixLength()", 8),
        ("url('https://a.b:80/x?y=1').getHostname()", "a.b"),
        ("url('https://a.b:80/x?y=1').getPort()", "80"),
        ("url('/x%20y').getEscapedPath()", "/x%20y"),
        ("url('https://a.b/?y=1&y=2').getQuery()['y']", ["1", "2"]),
        ("isURL('no url')", False),
        ("[1, 2, 2].isSorted() && !['b', 'a'].isSorted()", True),
        ("[1, 2, 3].sum() + [4, 1].max() + [4, 1].min()", 11),
        ("[duration('1s'), duration('2s')].sum() == duration('3s')", True),
        ("['a', 'b', 'a'].lastIndexOf('a') - ['a', 'b'].indexOf('b')", 1),
        ("'abc'.indexOf('c')", 2),
        ("self.text.find('a+') + 'x'.find('y')", "aa"),
        ("self.text.findAll('(a)', 1)", ["a"]),
        ("format.dns1123Label().validate('A').hasValue()", True),
        ("format.dns1123Label().validate('a').hasValue()", False),
        ("format.named('uuid').hasValue() && !format.named('nope').hasValue()", True),
        ("self.?nope.orValue('none')", "none"),
        ("optional.of(3).value()", 3),
        ("self.tags.all(i, tag, tag == self.tags[i])", True),
        ("self.tags.transformList(i, tag, tag + string(i))", ["a0", "b1"]),
        ("{'a': 1, 'b': 2}.transformMap(k, v, v * 2)", {"a": 2, "b": 4}),
        ("{'a': 1, 'b': 2}.transformMap(k, v, v > 1, k + ')')", {"b": "b)"}),
        ("['x', 'y'].transformMap(i, v, {'y': i}.transformMap(a, b, b))", {0: {"y": 0}, 1: {"y": 1}}),
        ("{'a': 'b'}.transformMapEntry(k, v, {v: k})", {"b": "a"}),
        ("'.transformMap(a, b, c)' + \"it's\"", ".transformMap(a, b, c)it's"),
        ("sets.contains(['a', 'b'], self.tags)", True),
        ("'%s-%d'.format(['a', 3])", "a-3"),
        ("cel.bind(n, self.replicas, n * n)", 9),
        ("size('é')", 1),
    ],
)
def test_kubernetes_functions_have_their_values(engine: Engine, expression: str, value: Any) -> None:
    assert engine.run(expression, {"self": _SELF}) == value


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("self.nope", "no such key: nope"),
        ("1 / 0 == 1", "division by zero"),
        ("self.tags[4]", "index out of bounds: 4"),
        ("self.replicas + 'x'", "no such overload"),
        ("quantity('many')", "quantities must match the regular expression"),
        ("ip('nowhere')", "unable to parse IP"),
        ("[].max()", "max called on empty list"),
        ("self.text.find('[')", "error parsing regexp: missing closing ]: `[`"),
    ],
)
def test_what_has_no_value_says_why(engine: Engine, expression: str, says: str) -> None:
    with pytest.raises(EvaluationError, match=re.escape(says)):
        engine.run(expression, {"self": _SELF})


def test_an_old_self_may_be_optional(engine: Engine) -> None:
    rule = "oldSelf.optMap(old, old < self).orValue(true) // at first anything goes"
    assert engine.run(rule, {"self": 3}, []) is True
    assert engine.run(rule, {"self": 3}, [2]) is True
    assert engine.run(rule, {"self": 3}, [4]) is False


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("quantity(self.text) == 1", "found no matching overload"),
        ("self.other", "undefined field 'other'"),
        ("{'a': 1}.transformMap(k, v, w) == {}", "undeclared reference to 'w'"),
    ],
)
def test_types_are_checked_before_anything_runs(engine: Engine, expression: str, says: str) -> None:
    types = Types()
    kind = types.of({"type": "object", "properties": {"text": {"type": "string"}}})
    assert kind is not None
    with pytest.raises(CompileError, match=says):
        engine.checker({"self": kind}, types).check(expression)


def test_fields_that_differ_in_case_alone_are_told_apart(engine: Engine) -> None:
    types = Types()
    text = {"type": "object", "additionalProperties": {"type": "string"}}
    kind = types.of({"type": "object", "properties": {"fooBar": text, "foo_bar": text, "FooBarEntry": text}})
    assert kind is not None
    checker = engine.checker({"self": kind, "more": DYN}, types)
    assert checker.check("self.fooBar['a'] == self.foo_bar['a'] && more.anything") == "BOOL"


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("replicas", "replicas"),
        ("namespace", "__namespace__"),
        ("x-y", "x__dash__y"),
        ("a.b/c", "a__dot__b__slash__c"),
        ("a__b", "a__underscores__b"),
        ("1a", None),
        ("a b", None),
    ],
)
def test_names_are_escaped_as_kubernetes_does(name: str, escaped: str | None) -> None:
    assert escape(name) == escaped


def test_a_word_in_a_string_is_no_variable() -> None:
    assert uses("self == oldSelf", "oldSelf")
    assert not uses("self != 'oldSelf' // oldSelf", "oldSelf")
    assert not uses("self.oldSelf == 1", "oldSelf")
