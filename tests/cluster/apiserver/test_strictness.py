"""Bodies that are decoded strictly, and the rules of metadata that only a second request can break."""

import json
from typing import Any

import aiohttp
import pytest
from tests.cluster.apiserver.servers import Home, Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, PODS, SERVICEACCOUNTS
from weft.cluster.apiserver.errors import StatusError
from weft.cluster.apiserver.patching import go_value
from weft.cluster.apiserver.quantities import canonical
from weft.cluster.apiserver.rest import bodies

HERE = "default"
PATH = f"/api/v1/namespaces/{HERE}/configmaps"
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx:1.25"}]},
        },
    },
}


@pytest.mark.parametrize(
    ("validation", "code", "said"),
    [("Strict", 400, 'strict decoding error: duplicate field "data.a"'), ("Warn", 201, ""), ("Ignore", 201, "")],
)
async def test_a_field_that_comes_twice_is_refused_warned_of_or_ignored(
    kube: Kube, home: Home, validation: str, code: int, said: str
) -> None:
    text = '{"metadata": {"name": "twice"}, "data": {"a": "1", "b": "x", "a": "2"}}'
    connector = aiohttp.TCPConnector(ssl=home.access.ssl_context())
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(home.access.server + PATH, data=text, params={"fieldValidation": validation}) as response,
    ):
        answer = await response.json()
        assert response.status == code
        assert said in answer.get("message", "")
        warned = response.headers.getall("Warning", [])
    assert warned == (['299 - "duplicate field \\"data.a\\""'] if validation == "Warn" else [])
    if code == 201:
        assert answer["data"] == {"a": "2", "b": "x"}


def test_fields_that_come_twice_are_named_by_their_paths() -> None:
    text = b'{"a": 1, "l": [{}, {"x": {"y": 1, "y": 2}}], "a": {"a": 1}}'
    assert bodies.repeated(text, "application/json") == ["a", "l[1].x.y"]
    assert bodies.repeated(b'{"a": {"a": 1}}', "application/json") == []
    assert bodies.repeated(b"{", "application/json") == []


async def test_a_patch_that_does_not_decode_is_to_blame_for_it(kube: Kube, kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=json.dumps(DEPLOYMENT))

    async def refused(*args: str) -> str:
        return (await kubectl("patch", "deployment", "web", *args, ok=False)).err.strip()

    start = "The request is invalid: patch: Invalid value: "
    wrong = '{"spec": {"replicas": "three"}}'
    assert await refused("-p", wrong) == f'{start}"map[spec:map[replicas:three]]": unrecognized type: int32'
    decoder = "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    shown = '"{\\"spec\\":{\\"replicas\\":\\"three\\"}}"'
    assert await refused("--type", "merge", "-p", wrong) == f"{start}{shown}: {decoder}"
    container = '{"spec": {"template": {"spec": {"containers": [{"name": "c", "image": 5}]}}}}'
    assert (await refused("-p", container)).endswith(": cannot convert int64 to string")
    unknown = await kubectl("patch", "deployment", "web", "-p", '{"spec": {"foo": 1}}')
    assert 'Warning: unknown field "spec.foo"' in unknown.err


async def test_kubectl_apply_says_which_fields_cannot_change(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    other = json.loads(json.dumps(DEPLOYMENT).replace('"app": "web"', '"app": "other"'))
    refused = await kubectl("apply", "-f", "-", stdin=json.dumps(other), ok=False)
    why = 'spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is immutable'
    assert refused.err.strip() == f'The Deployment "web" is invalid: {why}'
    elsewhere = DEPLOYMENT | {"metadata": {"name": "web", "namespace": "a"}}
    mismatch = await kubectl("apply", "-n", "b", "-f", "-", stdin=json.dumps(elsewhere), ok=False)
    assert 'the namespace from the provided object "a" does not match the namespace "b"' in mismatch.err


async def test_a_container_for_debugging_has_a_name_of_its_own_and_stays(kube: Kube) -> None:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": HERE}})
    spec = {"containers": [{"name": "c", "image": "nginx:1.25"}]}
    await kube.create(PODS, {"metadata": {"name": "p", "namespace": HERE}, "spec": spec})

    async def debug(**container: Any) -> None:
        patch = {"spec": {"ephemeralContainers": [{"image": "busybox:1"} | container]}}
        await kube.patch(PODS, "p", patch, HERE, subresource="ephemeralcontainers", how="strategic")

    path = "spec.ephemeralContainers[0]"
    for container, why in (
        ({"name": "c"}, f'{path}.name: Duplicate value: "c"'),
        ({"name": "D"}, f'{path}.name: Invalid value: "D"'),
        (
            {"name": "d", "ports": [{"containerPort": 1}]},
            f"{path}.ports: Forbidden: cannot be set for an Ephemeral",
        ),
        ({"name": "d", "targetContainerName": "x"}, f'{path}.targetContainerName: Not found: "x"'),
    ):
        with pytest.raises(ApiError) as refused:
            await debug(**container)
        assert why in str(refused.value)
    await debug(name="d", targetContainerName="c")
    with pytest.raises(ApiError, match='existing ephemeral containers "d" may not be changed'):
        await debug(name="d", image="other:1")


async def test_no_finalizer_is_added_to_what_is_being_deleted(kube: Kube) -> None:
    meta = {"name": "going", "namespace": HERE, "finalizers": ["example.com/a"]}
    await kube.create(CONFIGMAPS, {"metadata": meta})
    await kube.delete(CONFIGMAPS, "going", HERE)
    more = {"metadata": {"finalizers": ["example.com/a", "example.com/b"]}}
    with pytest.raises(ApiError) as refused:
        await kube.patch(CONFIGMAPS, "going", more, HERE)
    why = 'if the object is being deleted, found new finalizers []string{"example.com/b"}'
    field = "metadata.finalizers: Forbidden: no new finalizers can be added"
    assert str(refused.value) == f'ConfigMap "going" is invalid: {field} {why}'
    await kube.patch(CONFIGMAPS, "going", {"metadata": {"finalizers": None}}, HERE)
    with pytest.raises(ApiError, match="not found"):
        await kube.get(CONFIGMAPS, "going", HERE)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must match the regular expression"),
        ("1.2.3", "must match the regular expression"),
        ("100MB", "must match the regular expression"),
        ("5 Gi", "must match the regular expression"),
        ("Mi", "unable to parse numeric part of quantity"),
        ("1mi", "unable to parse quantity's suffix"),
        ("1K", "unable to parse quantity's suffix"),
    ],
)
def test_what_is_no_quantity_is_told_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        canonical(text)


def test_a_decoded_patch_is_shown_as_go_prints_it() -> None:
    value = {"b": [1, "x", None], "a": {"c": True, "d": 1.5}}
    assert go_value(value) == "map[a:map[c:true d:1.5] b:[1 x <nil>]]"


def test_a_body_of_broken_json_is_the_clients_fault() -> None:
    with pytest.raises(StatusError):
        bodies.parse(b"{", "application/json")
