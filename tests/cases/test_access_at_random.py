"""Any two policies, and any caller: the resources that Envoy gets decide as the reference does."""

from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import access, access_reference

from weft.api import codes

NAMESPACES = st.sampled_from(["shop", "till", "istio-system"])
CALLERS = st.sampled_from(
    ["", *(f"spiffe://cluster.local/ns/{ns}/sa/{sa}" for ns in ("shop", "till") for sa in "ab")]
)
ADDRESSES = st.sampled_from(["10.244.0.7", "10.1.2.3"])
METHODS = st.sampled_from(["GET", "POST", "bytes"])
PATHS = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/x/../a", "//a", "/%61?q=1", "/b.key"])


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


def parts(fields: dict[str, list[str]]) -> st.SearchStrategy[dict[str, Any]]:
    """One or two of the fields, or of their not-forms."""
    every = {name: values for key, values in fields.items() for name in (key, f"not{key[0].upper()}{key[1:]}")}
    names = st.lists(st.sampled_from(sorted(every)), min_size=1, max_size=2, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: some(every[name]) for name in chosen}))


OF_CONNECTIONS = {
    "principals": ["cluster.local/ns/shop/sa/a", "cluster.local/ns/till/*", "*/sa/b", "*"],
    "namespaces": ["shop", "t*"],
    "ipBlocks": ["10.244.0.0/16", "10.1.2.3"],
}
SOURCES = parts({**OF_CONNECTIONS, "requestPrincipals": ["*", "issuer/me"]})
OPERATIONS = parts(
    {
        "methods": ["GET", "P*"],
        "paths": ["/a", "/a/*", "*.key", "/a/{*}", "/{**}/c", "*"],
        "ports": ["8080", "9000"],
        "hosts": ["web", "*.example.com"],
    }
)
CONDITIONS = st.builds(
    lambda key, values, field: {
        "key": key[0],
        field: [value for value in key[1] if value in values] or key[1][:1],
    },
    st.sampled_from(
        [
            ("request.headers[x]", ["1", "2*"]),
            ("source.ip", ["10.1.0.0/16"]),
            ("source.namespace", ["shop", "till"]),
            ("destination.port", ["9000"]),
        ]
    ),
    st.sets(st.sampled_from(["1", "2*", "shop", "till"])),
    st.sampled_from(["values", "notValues"]),
)


def entries(name: str, key: str, of: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(of, max_size=2).map(lambda each: {name: [{key: one} for one in each]} if each else {})


def rules_of(sources: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda senders, operations, when: {**senders, **operations, **({"when": when} if when else {})},
        entries("from", "source", sources),
        entries("to", "operation", OPERATIONS),
        st.lists(CONDITIONS, max_size=1),
    )


RULES = rules_of(SOURCES)
ASKING = rules_of(parts(OF_CONNECTIONS))
"""Rules of CUSTOM policies: tokens are not known yet when providers are asked."""
PROVIDERS = """
extensionProviders:
  - {name: by-http, envoyExtAuthzHttp: {service: decides.example.com, port: 9001}}
  - {name: by-grpc, envoyExtAuthzGrpc: {service: decides.example.com, port: 9002}}
  - {name: open, envoyExtAuthzHttp: {service: decides.example.com, port: 9008, failOpen: true}}
"""
GIVEN: list[dict[str, Any]] = [
    {"kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": PROVIDERS}},
    {
        "kind": "ServiceEntry",
        "metadata": {"name": "decides", "namespace": "shop"},
        "spec": {
            "hosts": ["decides.example.com"],
            "resolution": "STATIC",
            "ports": [
                {"number": 9001, "name": "http", "protocol": "HTTP"},
                {"number": 9002, "name": "grpc", "protocol": "GRPC"},
                {"number": 9008, "name": "http-down", "protocol": "HTTP"},
            ],
            "endpoints": [{"address": "127.64.0.1"}],
        },
    },
]


@st.composite
def policies(draw: Callable[[st.SearchStrategy[Any]], Any]) -> dict[str, Any]:
    action = draw(st.sampled_from(["ALLOW", "DENY", "AUDIT", "CUSTOM"]))
    each = ASKING if action == "CUSTOM" else RULES
    rules = draw(st.lists(each, min_size=0 if action == "ALLOW" else 1, max_size=2))
    spec: dict[str, Any] = {"action": action, **({"rules": rules} if rules else {})}
    if action == "CUSTOM":
        spec["provider"] = {"name": draw(st.sampled_from(["by-http", "by-grpc", "open", "none"]))}
    if draw(st.booleans()):
        spec["selector"] = {"matchLabels": {"app": draw(st.sampled_from(["web", "other"]))}}
    tried = draw(st.sampled_from([False, False, False, True]))
    return {
        "kind": "AuthorizationPolicy",
        "metadata": {
            "name": draw(st.sampled_from(["one", "two", "three", "four"])),
            "namespace": draw(NAMESPACES),
            **({"annotations": {"istio.io/dry-run": "true"}} if tried else {}),
        },
        "spec": spec,
    }


ASKS = st.builds(
    lambda who, method, path, source, headers: access.Ask(
        line="",
        who=who,
        method=method,
        port=9000 if method == "bytes" else 8080,
        path=path,
        then="",
        source=source,
        headers=headers,
    ),
    CALLERS,
    METHODS,
    PATHS,
    ADDRESSES,
    st.sampled_from(
        [
            {},
            {"x": "1"},
            {"x": "22"},
            {"host": "A.example.com:80"},
            {"x-ext-authz": "allow"},
            {"x-ext-authz": "401"},
        ]
    ),
)
WORKLOAD = access_reference.Workload("shop", {"app": "web"}, providers=access_reference.providers(tuple(GIVEN)))


@settings(max_examples=150, deadline=None)
@given(st.lists(policies(), min_size=1, max_size=2), st.lists(ASKS, min_size=1, max_size=12))
def test_any_two_policies_decide_as_their_plain_reading_says(
    written: list[dict[str, Any]], asks: list[access.Ask]
) -> None:
    named = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in written}
    case = access.read({"given": [*GIVEN, *named.values()]})
    assert not [each for each in case.snapshot.problems if each.code == codes.SCHEMA]
    for asked in asks:
        found = access.outcome(access.simulated(asked, case))
        assert found == access_reference.decide(asked, case.policies, WORKLOAD), (
            asked,
            yaml.safe_dump(list(case.policies)),
        )
