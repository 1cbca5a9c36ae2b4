from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.api import codes
from weft.api.decode import KUBERNETES, check, decode
from weft.api.destination_rule import DestinationRule
from weft.api.resources import RESOURCES
from weft.api.virtual_service import VirtualService
from weft.base.problem import Problem, Severity


def virtual_service(spec: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "web", "namespace": "shop", "uid": "1", "managedFields": [{}]},
        "spec": yaml.safe_load(spec),
        "status": {"anything": 1},
    }


def destination_rule(spec: str) -> dict[str, Any]:
    return {
        "kind": "DestinationRule",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": yaml.safe_load(spec),
    }


def problems(obj: dict[str, Any]) -> list[Problem]:
    decoded = decode(RESOURCES[obj["kind"]].shape, obj)
    return list(decoded if isinstance(decoded, tuple) else check(decoded))


def said(obj: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each.severity.value, each.at.field) for each in problems(obj)]


ROUTE = "route: [{destination: {host: web}}]"


def test_a_good_rule_is_decoded_without_a_word() -> None:
    obj = virtual_service(f"{{hosts: [web], http: [{{{ROUTE}, timeout: 2s, retries: {{attempts: 2}}}}]}}")
    decoded = decode(VirtualService, obj)
    assert isinstance(decoded, VirtualService)
    assert decoded.spec.http[0].route[0].destination.host == "web"
    assert check(decoded) == ()


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_all_versions_of_istio_are_read_alike(version: str) -> None:
    obj = virtual_service(f"{{hosts: [web], http: [{{{ROUTE}}}]}}") | {
        "apiVersion": f"networking.istio.io/{version}"
    }
    assert problems(obj) == []


def test_another_version_is_refused() -> None:
    obj = virtual_service(f"{{hosts: [web], http: [{{{ROUTE}}}]}}") | {"apiVersion": "networking.istio.io/v2"}
    assert said(obj) == [("Error", "apiVersion")]


def test_every_misfit_is_told_at_once_by_the_path_that_users_write() -> None:
    obj = virtual_service(
        """
        hosts: [web]
        htp: []
        http:
          - match: [{headers: {user: {exakt: me}, x.y: {exact: 1}}}]
            route: [{destination: {host: web, port: {number: 70000}}, weight: "80"}]
            fault: {abort: {httpStatus: 500, percentage: {value: eighty}}}
            retries: 3
          - route: {}
        """
    )
    assert said(obj) == [
        ("Error", "spec.http[0].match[0].headers.user.exakt"),
        ("Error", 'spec.http[0].match[0].headers["x.y"].exact'),
        ("Error", "spec.http[0].route[0].destination.port.number"),
        ("Error", "spec.http[0].route[0].weight"),
        ("Error", "spec.http[0].retries"),
        ("Error", "spec.http[0].fault.abort.percentage.value"),
        ("Error", "spec.http[1].route"),
        ("Error", "spec.htp"),
    ]


def test_a_problem_reads_as_a_line_with_place_value_and_way_out() -> None:
    obj = virtual_service(f"{{hosts: [web], http: [{{{ROUTE}, retrys: {{attempts: 2}}}}]}}")
    assert [str(each) for each in problems(obj)] == [
        (
            "Error [IST0106] (VirtualService/shop/web) spec.http[0].retrys: "
            'unknown field "retrys". Did you mean "retries"?'
        )
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"80"', 'expected a number, got "80". Write it without quotes.'),
        ("101", "101.0 is out of range. Use a number, 0 to 100."),
        ("true", "expected a number, got true. Write a number here."),
        ("null", "expected a number, got nothing. Write a number here."),
    ],
)
def test_a_wrong_percentage_is_told_with_its_value(value: str, message: str) -> None:
    fault = f"fault: {{abort: {{httpStatus: 500, percentage: {{value: {value}}}}}}}"
    [problem] = problems(virtual_service(f"{{hosts: [web], http: [{{{ROUTE}, {fault}}}]}}"))
    assert problem.at.field == "spec.http[0].fault.abort.percentage.value"
    assert f"{problem.message} {problem.hint}" == message.replace("101.0", "101")


@pytest.mark.parametrize(
    ("http", "severity", "field"),
    [
        ("{}", "Error", "spec.http[0]"),
        (f"{{{ROUTE}, redirect: {{uri: /}}}}", "Error", "spec.http[0]"),
        ("{route: [{destination: {host: ''}}]}", "Error", "spec.http[0].route[0].destination.host"),
        ("{route: [{destination: {host: '*.x'}}]}", "Error", "spec.http[0].route[0].destination.host"),
        (f"{{{ROUTE}, timeout: 3}}", "Error", "spec.http[0].timeout"),
        (f"{{{ROUTE}, timeout: 3 s}}", "Error", "spec.http[0].timeout"),
        (f"{{{ROUTE}, timeout: 500us}}", "Error", "spec.http[0].timeout"),
        (
            f"{{{ROUTE}, retries: {{attempts: 1, perTryTimeout: 0s}}}}",
            "Error",
            "spec.http[0].retries.perTryTimeout",
        ),
        (f"{{{ROUTE}, retries: {{attempts: -1}}}}", "Error", "spec.http[0].retries.attempts"),
        (f"{{{ROUTE}, retries: {{attempts: 1, retryOn: '5xx,rest'}}}}", "Error", "spec.http[0].retries.retryOn"),
        (f"{{{ROUTE}, retries: {{retryOn: 5xx}}}}", "Warning", "spec.http[0].retries"),
        (f"{{{ROUTE}, fault: {{}}}}", "Error", "spec.http[0].fault"),
        (f"{{{ROUTE}, fault: {{abort: {{percentage: {{value: 1}}}}}}}}", "Error", "spec.http[0].fault.abort"),
        (f"{{{ROUTE}, fault: {{abort: {{httpStatus: 500}}}}}}", "Warning", "spec.http[0].fault.abort"),
        (f"{{{ROUTE}, fault: {{abort: {{httpStatus: 99}}}}}}", "Error", "spec.http[0].fault.abort.httpStatus"),
        (f"{{{ROUTE}, fault: {{delay: {{fixedDelay: 5s}}}}}}", "Warning", "spec.http[0].fault.delay"),
        (
            f"{{{ROUTE}, fault: {{delay: {{fixedDelay: 5, percentage: {{value: 1}}}}}}}}",
            "Error",
            "spec.http[0].fault.delay.fixedDelay",
        ),
        (f"{{{ROUTE}, match: [{{uri: {{}}}}]}}", "Error", "spec.http[0].match[0].uri"),
        (f"{{{ROUTE}, match: [{{uri: {{prefix: ''}}}}]}}", "Error", "spec.http[0].match[0].uri.prefix"),
        (f"{{{ROUTE}, match: [{{uri: {{exact: /, prefix: /}}}}]}}", "Error", "spec.http[0].match[0].uri"),
        (f"{{{ROUTE}, match: [{{uri: {{regex: '['}}}}]}}", "Error", "spec.http[0].match[0].uri.regex"),
        (f"{{{ROUTE}, match: [{{uri: {{regex: '(?!a)b'}}}}]}}", "Error", "spec.http[0].match[0].uri.regex"),
        (f"{{{ROUTE}, match: [{{uri: {{regex: ''}}}}]}}", "Error", "spec.http[0].match[0].uri.regex"),
        (f"{{{ROUTE}, match: [{{headers: {{'a b': {{}}}}}}]}}", "Error", 'spec.http[0].match[0].headers["a b"]'),
        (f"{{{ROUTE}, match: [{{headers: {{X-A: {{}}}}}}]}}", "Info", "spec.http[0].match[0].headers.X-A"),
        (f"{{{ROUTE}, match: [{{headers: {{uri: {{}}}}}}]}}", "Warning", "spec.http[0].match[0].headers.uri"),
        (f"{{{ROUTE}, match: [{{port: 0}}]}}", "Error", "spec.http[0].match[0].port"),
        (f"{{{ROUTE}, match: [{{sourceLabels: {{a: 'b c'}}}}]}}", "Error", "spec.http[0].match[0].sourceLabels.a"),
        (f"{{{ROUTE}, match: [{{gateways: [edge]}}]}}", "Warning", "spec.http[0].match[0].gateways[0]"),
    ],
)
def test_a_route_is_checked_field_by_field(http: str, severity: str, field: str) -> None:
    assert said(virtual_service(f"{{hosts: [web], http: [{http}]}}")) == [(severity, field)]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([80, 20], []),
        ([30, 30], [("Warning", "spec.http[0].route")]),
        ([0, 0], [("Error", "spec.http[0].route")]),
        ([-1, 101], [("Error", "spec.http[0].route[0].weight")]),
        ([None, 100], [("Warning", "spec.http[0].route[0]")]),
        ([7], []),
    ],
)
def test_weights_are_to_sum_to_100(weights: list[int | None], expected: list[tuple[str, str]]) -> None:
    obj = virtual_service("{hosts: [web]}")
    shares = [{"destination": {"host": "web"}} | ({} if each is None else {"weight": each}) for each in weights]
    obj["spec"]["http"] = [{"route": shares}]
    assert said(obj) == expected


def test_weights_that_do_not_sum_to_100_are_told_with_the_shares_that_envoy_makes_of_them() -> None:
    obj = virtual_service("{hosts: [web]}")
    obj["spec"]["http"] = [{"route": [{"destination": {"host": "web"}, "weight": each} for each in (30, 90)]}]
    [problem] = problems(obj)
    assert problem.message == "the weights sum to 120, not 100; Envoy scales them to 25 %, 75 %."


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("{}", "spec.hosts"),
        (f"{{hosts: [web, web], http: [{{{ROUTE}}}]}}", "spec.hosts[1]"),
        (f"{{hosts: ['a b'], http: [{{{ROUTE}}}]}}", "spec.hosts[0]"),
        ("{hosts: [web], http: []}", "spec.http"),
        (f"{{hosts: [web], exportTo: [A_B], http: [{{{ROUTE}}}]}}", "spec.exportTo[0]"),
        (f"{{hosts: web, http: [{{{ROUTE}}}]}}", "spec.hosts"),
    ],
)
def test_a_virtual_service_is_refused_by_field(spec: str, field: str) -> None:
    assert ("Error", field) in said(virtual_service(spec))


def test_a_route_behind_one_that_takes_everything_is_told() -> None:
    obj = virtual_service(f"{{hosts: [web], http: [{{{ROUTE}}}, {{{ROUTE}, match: [{{uri: {{prefix: /a}}}}]}}]}}")
    assert [(each.code, each.at.field) for each in problems(obj)] == [("IST0130", "spec.http[1]")]


def test_a_timeout_of_0s_means_none() -> None:
    assert said(virtual_service(f"{{hosts: [web], http: [{{{ROUTE}, timeout: 0s}}]}}")) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{}", [("Error", "spec.host")]),
        ("{host: web}", []),
        ("{host: 'a b'}", [("Error", "spec.host")]),
        ("{host: web, subsets: [{labels: {a: b}}]}", [("Error", "spec.subsets[0].name")]),
        ("{host: web, subsets: [{name: ''}]}", [("Error", "spec.subsets[0].name")]),
        ("{host: web, subsets: [{name: v1}, {name: v1}]}", [("Error", "spec.subsets[1].name")]),
        ("{host: web, subsets: [{name: v_1}]}", [("Error", "spec.subsets[0].name")]),
        (
            "{host: web, subsets: [{name: v1, labels: {version: 1}}]}",
            [("Error", "spec.subsets[0].labels.version")],
        ),
        (
            "{host: web, trafficPolicy: {loadBalancer: {simple: RANDUM}}}",
            [("Error", "spec.trafficPolicy.loadBalancer.simple")],
        ),
        (
            "{host: web, trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}}",
            [("Warning", "spec.trafficPolicy.loadBalancer.simple")],
        ),
        (
            "{host: web, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /c}}}",
            [("Error", "spec.trafficPolicy.tls.privateKey")],
        ),
    ],
)
def test_a_destination_rule_is_checked_field_by_field(spec: str, expected: list[tuple[str, str]]) -> None:
    assert said(destination_rule(spec)) == expected


def test_faults_that_istio_does_not_implement_are_told_with_a_way_out() -> None:
    fault = "{abort: {http2Error: CANCEL, percentage: {value: 1}}, delay: {exponentialDelay: 1s}}"
    spec = f"{{hosts: [web], http: [{{fault: {fault}, route: [{{destination: {{host: web}}}}]}}]}}"
    told = [each for each in problems(virtual_service(spec)) if each.code == codes.NOT_ACTED_ON]
    assert [(each.at.field, each.hint) for each in told] == [
        ("spec.http[0].fault.abort.http2Error", "Use httpStatus, or grpcStatus."),
        ("spec.http[0].fault.delay.exponentialDelay", "Use fixedDelay."),
    ]


def test_a_subset_without_quotes_around_its_version_is_told_how_to_write_it() -> None:
    [problem] = problems(destination_rule("{host: web, subsets: [{name: v1, labels: {version: 1}}]}"))
    assert problem.hint == 'Write it in quotes: "1".'


def test_a_deprecated_percent_is_told_with_its_new_form() -> None:
    fault = "fault: {delay: {fixedDelay: 5s, percent: 50}}"
    [problem] = problems(virtual_service(f"{{hosts: [web], http: [{{{ROUTE}, {fault}}}]}}"))
    assert (problem.code, problem.hint) == ("IST0002", "Write percentage: {value: 50}.")


NAMES = """
    metadata name spec hosts http route match uri exact destination host subsets labels trafficPolicy loadBalancer
    simple fault abort percentage value x
"""
_KEYS = st.sampled_from(NAMES.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    st.sampled_from([*(each.shape for each in RESOURCES.values()), *KUBERNETES.values()]),
    st.dictionaries(_KEYS, JSON, max_size=4),
)
def test_nothing_that_is_json_makes_decoding_raise(shape: type[Any], obj: dict[str, Any]) -> None:
    decoded = decode(shape, obj)
    if isinstance(decoded, tuple):
        assert decoded
        assert all(each.severity is Severity.ERROR and each.message for each in decoded)
    else:
        assert isinstance(decoded, shape)


@settings(deadline=None)
@given(st.dictionaries(_KEYS, JSON, max_size=4))
def test_what_does_not_fit_is_always_found_by_its_field(spec: dict[str, Any]) -> None:
    decoded = decode(DestinationRule, {"spec": spec})
    if isinstance(decoded, tuple):
        assert all(each.at.field.startswith("spec") for each in decoded)
