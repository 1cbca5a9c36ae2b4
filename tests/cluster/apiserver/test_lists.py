"""Lists and what may be asked of them: selectors, forms, revisions; and writes that depend on revisions."""

import asyncio
import ssl
from typing import Any

import aiohttp
import pytest
from tests.cluster.apiserver.servers import Home, Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, ENDPOINTS, LEASES
from weft.cluster.apiserver import label_syntax, store
from weft.cluster.apiserver.label_syntax import Term
from weft.cluster.apiserver.rest.server import Server

HERE = "default"
PATH = CONFIGMAPS.path(HERE)


async def config_map(kube: Kube, name: str, **labels: str) -> dict[str, Any]:
    return await kube.create(CONFIGMAPS, {"metadata": {"name": name, "namespace": HERE, "labels": labels}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a=b)", "found ')', expected: ',' or 'end of string'"),
        ("a>b", "values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer"),
        ("-a=b", '<nil>: Invalid value: "-a": name part must consist of'),
        ("a=-b", 'values[0][a]: Invalid value: "-b": a valid label must be'),
    ],
)
async def test_a_selector_that_is_none_is_refused_in_kubernetes_words(kube: Kube, text: str, said: str) -> None:
    with pytest.raises(ApiError) as refused:
        await kube.call("GET", PATH, query={"labelSelector": text})
    assert refused.value.code == 400
    assert said in str(refused.value)


def test_a_selector_is_read_as_it_is_written() -> None:
    assert label_syntax.read("a=b, c in (e,d) ,!f,g,h!=i,k>3,l notin (m,),n=") == [
        Term("a", "In", ("b",)),
        Term("c", "In", ("d", "e")),
        Term("f", "DoesNotExist"),
        Term("g", "Exists"),
        Term("h", "NotIn", ("i",)),
        Term("k", "Gt", ("3",)),
        Term("l", "NotIn", ("", "m")),
        Term("n", "In", ("",)),
    ]
    assert label_syntax.read("") == []


async def test_fields_that_a_kind_is_not_selected_by_are_named(kubectl: Kubectl) -> None:
    for plural, said in (
        ("pods", "field label not supported: spec.x"),
        ("configmaps", '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"'),
    ):
        refused = await kubectl("get", plural, "--field-selector=spec.x=y", ok=False)
        assert said in refused.err


async def test_a_list_may_be_of_metadata_alone_and_unknown_forms_are_406(kube: Kube, home: Home) -> None:
    await config_map(kube, "a", color="red")
    pki = home.path / "pki"
    context = ssl.create_default_context(cadata=home.access.ca)
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    url = home.access.server + PATH
    form = "application/json;as={};g=meta.k8s.io;v=v1"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:

        async def ask(accept: str, path: str = "", **query: str) -> tuple[int, Any]:
            async with session.get(url + path, headers={"Accept": accept}, params=query) as answer:
                return answer.status, await answer.json()

        _, found = await ask(form.format("PartialObjectMetadataList"))
        assert found["kind"] == "PartialObjectMetadataList"
        (item,) = found["items"]
        assert (item["kind"], item["metadata"]["labels"]) == ("PartialObjectMetadata", {"color": "red"})
        assert set(item) == {"kind", "apiVersion", "metadata"}
        _, one = await ask(form.format("PartialObjectMetadata"), "/a")
        assert one["kind"] == "PartialObjectMetadata"
        code, refused = await ask("application/xml")
        assert (code, refused["reason"]) == (406, "NotAcceptable")
        assert "only the following media types are accepted: application/json" in refused["message"]
        for include, wanted in (("None", None), ("Object", "ConfigMap"), ("Metadata", "PartialObjectMetadata")):
            _, table = await ask(form.format("Table"), includeObject=include)
            assert (table["rows"][0]["object"] or {}).get("kind") == wanted
        code, refused = await ask(form.format("Table"), includeObject="Some")
        assert (code, "must be one of None, Metadata, Object" in refused["message"]) == (400, True)


@pytest.mark.parametrize(
    ("headers", "query", "begins"),
    [
        ({"User-Agent": "curl/8.0"}, {}, b'{\n  "kind"'),
        ({"User-Agent": "curl/8.0"}, {"pretty": "false"}, b'{"kind"'),
        ({}, {"pretty": "true"}, b'{\n  "kind"'),
        ({"Accept": "application/yaml"}, {}, b"apiVersion: v1\nitems:"),
    ],
)
async def test_people_get_a_form_that_they_can_read(
    kube: Kube, home: Home, headers: dict[str, str], query: dict[str, str], begins: bytes
) -> None:
    pki = home.path / "pki"
    context = ssl.create_default_context(cadata=home.access.ca)
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get(home.access.server + PATH, headers=headers, params=query) as answer,
    ):
        assert (await answer.read()).startswith(begins)


async def test_a_revision_ahead_of_the_server_is_a_timeout(kube: Kube) -> None:
    await config_map(kube, "a")
    for path in (PATH, f"{PATH}/a"):
        with pytest.raises(ApiError, match="Timeout: Too large resource version: 99999999, current: ") as ahead:
            await kube.call("GET", path, query={"resourceVersion": "99999999"})
        assert ahead.value.code == 504
        with pytest.raises(ApiError, match="invalid resource version") as refused:
            await kube.call("GET", path, query={"resourceVersion": "abc"})
        assert refused.value.code == 400


async def test_a_list_cut_short_can_be_finished_with_the_token_of_its_refusal(
    kube: Kube, server: Server, home: Home, kubectl: Kubectl
) -> None:
    for name in "abc":
        await config_map(kube, name)
    page = await kube.call("GET", PATH, query={"limit": "1"})
    await config_map(kube, "d")
    kept: store.Store = server.cluster.store
    await kept._in_thread(lambda: kept._history.compact(kept.revision))
    refused = await kubectl("get", "--raw", f"{PATH}?limit=1&continue={page['metadata']['continue']}", ok=False)
    assert "The provided continue parameter is too old to display a consistent list result." in refused.err
    pki = home.path / "pki"
    context = ssl.create_default_context(cadata=home.access.ca)
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    query = {"limit": "1", "continue": page["metadata"]["continue"]}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get(home.access.server + PATH, params=query) as answer,
    ):
        token = (await answer.json())["metadata"]["continue"]
    rest = await kube.call("GET", PATH, query={"continue": token})
    assert [item["metadata"]["name"] for item in rest["items"]] == ["b", "c", "d"]


async def test_kubectl_lists_in_chunks(kube: Kube, kubectl: Kubectl) -> None:
    await asyncio.gather(*(config_map(kube, f"c{number}") for number in range(5)))
    shown = (await kubectl("get", "cm", "--chunk-size=2", "-o", "name")).out.split()
    assert shown == [f"configmap/c{number}" for number in range(5)]


async def test_a_put_makes_what_may_be_made_so_and_nothing_else(kube: Kube, kubectl: Kubectl) -> None:
    body = {"metadata": {"name": "e", "namespace": HERE}, "subsets": []}
    assert (await kube.call("PUT", ENDPOINTS.path(HERE, "e"), body=body))["metadata"]["uid"]
    with pytest.raises(ApiError, match='configmaps "e" not found'):
        await kube.call("PUT", f"{PATH}/e", body={"metadata": {"name": "e", "namespace": HERE}})


async def test_some_kinds_are_replaced_over_a_revision_only(kube: Kube) -> None:
    lease = {"metadata": {"name": "l", "namespace": HERE}, "spec": {"holderIdentity": "a"}}
    made = await kube.create(LEASES, lease)
    with pytest.raises(
        ApiError, match=r"metadata\.resourceVersion: Invalid value: 0: must be specified for an update"
    ):
        await kube.call("PUT", LEASES.path(HERE, "l"), body=lease)
    made["spec"]["holderIdentity"] = "b"
    assert (await kube.replace(LEASES, made))["spec"]["holderIdentity"] == "b"
    await config_map(kube, "a")
    changed = {"metadata": {"name": "a", "namespace": HERE}, "data": {"k": "v"}}
    assert (await kube.call("PUT", f"{PATH}/a", body=changed))["data"] == {"k": "v"}


async def test_a_deletion_meets_its_preconditions_or_is_a_conflict(kube: Kube) -> None:
    made = await config_map(kube, "a")
    for preconditions, why in (
        ({"uid": "other"}, r"the UID in the precondition \(other\) does not match the UID in record"),
        ({"resourceVersion": "1"}, r"the ResourceVersion in the precondition \(1\) does not match"),
    ):
        with pytest.raises(ApiError, match=why) as refused:
            await kube.call("DELETE", f"{PATH}/a", body={"preconditions": preconditions})
        assert refused.value.code == 409
    uid = {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}
    await kube.call("DELETE", f"{PATH}/a", body={"preconditions": uid})


async def test_a_new_object_with_a_revision_is_refused(kube: Kube) -> None:
    with pytest.raises(ApiError, match="resourceVersion should not be set on objects to be created"):
        await kube.create(CONFIGMAPS, {"metadata": {"name": "a", "namespace": HERE, "resourceVersion": "7"}})


@pytest.mark.parametrize(
    ("method", "query", "said"),
    [
        (
            "GET",
            {"sendInitialEvents": "true"},
            'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden',
        ),
        (
            "GET",
            {"watch": "true", "resourceVersionMatch": "Exact", "resourceVersion": "1"},
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            "POST",
            {"dryRun": "Some"},
            'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values',
        ),
        (
            "POST",
            {"fieldValidation": "Some"},
            'fieldValidation: Unsupported value: "Some": supported values: "", "Ignore", "Strict", "Warn"',
        ),
        (
            "DELETE",
            {"propagationPolicy": "Some"},
            'propagationPolicy: Unsupported value: "Some": supported values: "Foreground", "Background", "Orphan"',
        ),
    ],
)
async def test_options_that_are_none_are_invalid(
    kube: Kube, method: str, query: dict[str, str], said: str
) -> None:
    with pytest.raises(ApiError) as refused:
        await kube.call(method, PATH, query=query, body=None if method == "GET" else {})
    assert refused.value.code == 422
    assert said in str(refused.value)
