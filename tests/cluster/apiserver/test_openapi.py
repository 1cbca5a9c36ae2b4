"""OpenAPI documents, judged by real kubectls: explain, client-side checks of fields, and merge keys."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from weft.cluster.apiserver import discovery, openapi_v2
from weft.cluster.apiserver.catalog import BUILT_IN
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.openapi import Documents, v3_document
from weft.cluster.apiserver.openapi_schema import Schemas

ROOT = Path(__file__).parents[3]
KUBECTLS = {"1.20": ROOT / ".tools/kubectl-1.20/kubectl", "newest": ROOT / ".tools/kubectl-newest/kubectl"}
versions = pytest.mark.parametrize("version", list(KUBECTLS))

VIRTUAL_SERVICES = Kind(
    "networking.istio.io", "v1", "VirtualService", "virtualservices", "virtualservice", ("vs",)
)
KINDS = (*BUILT_IN, VIRTUAL_SERVICES)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Routing of traffic to hosts.",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "hosts": {"type": "array", "items": {"type": "string"}, "description": "Names that are routed."},
                "timeout": {
                    "x-kubernetes-int-or-string": True,
                    "anyOf": [{"type": "integer"}, {"type": "string"}],
                },
                "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "http": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"name": {"type": "string"}},
                        "oneOf": [{"required": ["name"]}, {"not": {"required": ["name"]}}],
                    },
                },
            },
        },
        "status": {"type": "object", "nullable": True},
    },
}
SCHEMAS: Schemas = {("networking.istio.io", "v1", "VirtualService"): SCHEMA}


@dataclass
class Server:
    """Discovery and OpenAPI, one deployment that exists, and a record of what was asked."""

    url: str
    cache: Path
    asked: list[tuple[str, str, bytes]]

    async def kubectl(self, version: str, *arguments: str, stdin: str = "") -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            KUBECTLS[version],
            f"--server={self.url}",
            "--kubeconfig=/dev/null",
            f"--cache-dir={self.cache}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(stdin.encode()), 30)
        return process.returncode or 0, out.decode()


def deployment(image: str, **extra: Any) -> dict[str, Any]:
    containers = [{"name": "web", "image": image, **extra}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}},
        },
    }


def application(asked: list[tuple[str, str, bytes]]) -> web.Application:
    documents = Documents()
    applied = deployment("nginx:1")
    applied["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(applied)}
    # a sidecar that something else put in: a merge by the container's name keeps it
    applied["spec"]["template"]["spec"]["containers"].append({"name": "proxy", "image": "envoy"})

    async def groups(request: web.Request) -> web.Response:
        if "APIGroupDiscoveryList" in request.headers.get("Accept", ""):
            document = discovery.aggregated(KINDS, core=request.path == "/api")
            content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            headers = {"Content-Type": content_type, "ETag": discovery.etag(document)}
            return web.Response(body=json.dumps(document), headers=headers)
        return web.json_response(
            discovery.api_versions() if request.path == "/api" else discovery.api_group_list(KINDS)
        )

    async def version(request: web.Request) -> web.Response:
        group, name = request.match_info.get("group", ""), request.match_info.get("version", "v1")
        return web.json_response(discovery.resource_list(KINDS, group, name))

    async def v2(request: web.Request) -> web.Response:
        return web.Response(body=documents.v2(KINDS, SCHEMAS), content_type=openapi_v2.MEDIA_TYPE)

    async def v3(request: web.Request) -> web.Response:
        group, name = request.match_info.get("group", ""), request.match_info["version"]
        return web.Response(body=documents.v3(group, name, KINDS, SCHEMAS), content_type="application/json")

    async def index(request: web.Request) -> web.Response:
        return web.json_response(documents.v3_index(KINDS, SCHEMAS))

    async def one(request: web.Request) -> web.Response:
        asked.append((request.method, request.content_type, await request.read()))
        return web.json_response(applied)

    async def create(request: web.Request) -> web.Response:
        body = await request.read()
        asked.append((request.method, request.query.get("fieldValidation", ""), body))
        return web.json_response(json.loads(body), status=201)

    app = web.Application()
    app.router.add_get("/api", groups)
    app.router.add_get("/apis", groups)
    app.router.add_get("/api/v1", version)
    app.router.add_get("/apis/{group}/{version}", version)
    app.router.add_get("/openapi/v2", v2)
    app.router.add_get("/openapi/v3", index)
    app.router.add_get("/openapi/v3/api/{version}", v3)
    app.router.add_get("/openapi/v3/apis/{group}/{version}", v3)
    app.router.add_route("*", "/apis/apps/v1/namespaces/default/deployments/web", one)
    app.router.add_post("/{rest:.*}", create)
    return app


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    asked: list[tuple[str, str, bytes]] = []
    runner = web.AppRunner(application(asked), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Server(f"http://127.0.0.1:{runner.addresses[0][1]}", tmp_path, asked)
    await runner.cleanup()


@versions
async def test_explain_tells_of_a_built_in_field(server: Server, version: str) -> None:
    code, out = await server.kubectl(version, "explain", "pod.spec.containers.imagePullPolicy")
    assert code == 0, out
    assert "FIELD" in out
    assert "Image pull policy" in out


@versions
async def test_explain_lists_the_fields_of_a_custom_resource(server: Server, version: str) -> None:
    code, out = await server.kubectl(version, "explain", "virtualservices.spec")
    assert code == 0, out
    assert "hosts\t<[]string>" in out
    assert "Names that are routed." in out
    assert (await server.kubectl(version, "explain", "vs.metadata.labels"))[0] == 0


@versions
async def test_api_resources_are_listed(server: Server, version: str) -> None:
    code, out = await server.kubectl(version, "api-resources", "-o", "name")
    assert code == 0, out
    assert {"pods", "deployments.apps", "virtualservices.networking.istio.io"} <= set(out.split())


async def test_the_old_kubectl_refuses_a_misspelt_field_itself(server: Server) -> None:
    manifest = json.dumps(deployment("nginx:1", imagePullPolice="Always"))
    code, out = await server.kubectl("1.20", "create", "-f", "-", stdin=manifest)
    assert code == 1
    assert 'unknown field "imagePullPolice"' in out
    assert server.asked == []


async def test_the_newest_kubectl_leaves_fields_to_the_server(server: Server) -> None:
    manifest = json.dumps(deployment("nginx:1", imagePullPolice="Always"))
    code, out = await server.kubectl("newest", "create", "-f", "-", stdin=manifest)
    assert code == 0, out
    [(method, validation, _)] = server.asked
    assert (method, validation) == ("POST", "Strict")


@versions
async def test_manifests_with_numbers_or_words_are_valid(server: Server, version: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"ports": [{"port": 80, "targetPort": 8080}, {"port": 81, "targetPort": "http"}]},
    }
    code, out = await server.kubectl(version, "create", "-f", "-", stdin=json.dumps(service))
    assert code == 0, out
    spec = {"hosts": ["a"], "timeout": 5, "anything": {"at": ["all"]}, "http": [{"name": "x"}]}
    custom = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "v"},
        "spec": spec,
    }
    code, out = await server.kubectl(version, "create", "-f", "-", stdin=json.dumps(custom))
    assert code == 0, out


@versions
async def test_apply_patches_a_container_by_its_name(server: Server, version: str) -> None:
    code, out = await server.kubectl(version, "apply", "-f", "-", stdin=json.dumps(deployment("nginx:2")))
    assert code == 0, out
    [patch] = [(kind, json.loads(body)) for method, kind, body in server.asked if method == "PATCH"]
    assert patch[0] == "application/strategic-merge-patch+json"
    spec = patch[1]["spec"]["template"]["spec"]
    assert spec["$setElementOrder/containers"] == [{"name": "web"}]
    assert spec["containers"] == [{"name": "web", "image": "nginx:2"}]


def test_every_reference_of_a_document_is_in_it() -> None:
    for group, version in {(kind.group, kind.version) for kind in KINDS}:
        document = v3_document([k for k in KINDS if (k.group, k.version) == (group, version)], SCHEMAS)
        text = json.dumps(document)
        wanted = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
        assert wanted <= set(document["components"]["schemas"])
        assert "$defs" not in text


def test_the_index_names_another_hash_when_a_schema_changes_and_no_other() -> None:
    documents = Documents()
    before = documents.v3_index(KINDS, SCHEMAS)["paths"]
    changed = {key: schema | {"description": "other"} for key, schema in SCHEMAS.items()}
    after = documents.v3_index(KINDS, changed)["paths"]
    assert {path for path in before if before[path] != after[path]} == {"apis/networking.istio.io/v1"}
    assert b"Routing of traffic" in documents.v3("networking.istio.io", "v1", KINDS, SCHEMAS)
    assert b"Routing of traffic" not in documents.v3("networking.istio.io", "v1", KINDS, changed)


def test_a_version_without_kinds_has_no_document() -> None:
    assert Documents().v3("nobody.example.org", "v1", KINDS, SCHEMAS) == b""


def test_only_bytes_are_kept_of_what_was_built() -> None:
    documents = Documents()
    tracemalloc.start()
    size = len(documents.v3("", "v1", KINDS, SCHEMAS)) + len(documents.v2(KINDS, SCHEMAS))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert documents.v2(KINDS, SCHEMAS) is documents.v2(KINDS, SCHEMAS)
    assert kept < size * 1.5 + 500_000
