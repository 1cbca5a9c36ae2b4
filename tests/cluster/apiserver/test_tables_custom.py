"""The columns that a CustomResourceDefinition names, and the JSONPath of theirs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.tables import jsonpath, table

NOW = datetime(2022, 1, 3, 15, 0, 0, tzinfo=UTC)


def ago(**delta: float) -> str:
    return (NOW - timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


VIRTUAL_SERVICE = Kind("networking.istio.io", "v1", "VirtualService", "virtualservices", "virtualservice")
COLUMNS_OF_IT: list[dict[str, Any]] = [
    {"name": "Gateways", "type": "string", "jsonPath": ".spec.gateways"},
    {"name": "Hosts", "type": "string", "jsonPath": ".spec.hosts", "description": "Names."},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Weight", "type": "integer", "jsonPath": ".spec.http[0].route[-1:]", "priority": 1},
    {
        "name": "Ready",
        "type": "string",
        "jsonPath": '.status.conditions[?(@.type=="Ready")].status',
        "priority": 1,
    },
    {"name": "Count", "type": "integer", "jsonPath": ".spec.count"},
    {"name": "On", "type": "boolean", "jsonPath": ".spec.on"},
]


def test_the_columns_of_a_custom_resource_are_its_definitions() -> None:
    obj = {
        "metadata": {"name": "canary", "creationTimestamp": ago(minutes=3)},
        "spec": {"hosts": ["canary"], "count": 3, "on": True},
        "status": {"conditions": [{"type": "Synced", "status": "False"}, {"type": "Ready", "status": "True"}]},
    }
    found = table(VIRTUAL_SERVICE, [obj], NOW, COLUMNS_OF_IT)
    assert [c["name"] for c in found["columnDefinitions"]] == ["Name", *(str(c["name"]) for c in COLUMNS_OF_IT)]
    assert [c["priority"] for c in found["columnDefinitions"]] == [0, 0, 0, 0, 1, 1, 0, 0]
    assert found["rows"][0]["cells"] == ["canary", None, '["canary"]', "3m", None, "True", 3, True]


def test_a_custom_resource_without_columns_shows_name_and_age() -> None:
    found = table(VIRTUAL_SERVICE, [{"metadata": {"name": "canary"}}], NOW, [])
    assert [c["name"] for c in found["columnDefinitions"]] == ["Name", "Age"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".metadata.labels.app", ["web"]),
        ("{.metadata.labels.app}", ["web"]),
        (r".metadata.labels.app\.kubernetes\.io/name", ["x"]),
        (".metadata.labels['app.kubernetes.io/name']", ["x"]),
        (r".metadata.labels['app\.kubernetes\.io/name']", ["x"]),
        (".spec.items[1].port", [81]),
        (".spec.items[-1].port", [81]),
        (".spec.items[*].port", [80, 81]),
        (".spec.items[?(@.name=='a')].port", [80]),
        ('.spec.items[?(@.name!="a")].port', [81]),
        (".spec.items[?(@.open==true)].port", [81]),
        (".spec.missing.field", []),
        (".spec.items[9]", []),
        (".spec.items.port", []),
    ],
)
def test_a_path_leads_to_its_values(path: str, found: list[Any]) -> None:
    obj = {
        "metadata": {"labels": {"app": "web", "app.kubernetes.io/name": "x"}},
        "spec": {"items": [{"name": "a", "port": 80}, {"name": "b", "port": 81, "open": True}]},
    }
    assert list(jsonpath.find(jsonpath.parse(path), obj)) == found


@given(st.text(alphabet=".[]*?()@=\"'ab0\\{}", max_size=25))
def test_any_path_is_understood_or_refused(path: str) -> None:
    try:
        list(jsonpath.find(jsonpath.parse(path), {"a": [{"b": 0}]}))
    except jsonpath.JsonPathError as error:
        assert repr(path) in str(error)  # noqa: PT017  # both ends of this road are right
