"""What the server says about itself: discovery, OpenAPI, version, health, metrics."""

import re
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from aiohttp import web

from weft.cluster.apiserver import discovery, errors, openapi, openapi_v2, usage
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.issuer import Issuer
from weft.cluster.apiserver.rest import bodies, health
from weft.cluster.apiserver.rest.metrics import Metrics

VERSION: Obj = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+weft",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_AGGREGATED = re.compile(r"g=apidiscovery\.k8s\.io")
_OLDER = re.compile(r"v=v2beta1")


@dataclass(slots=True)
class About:
    """The handlers of paths that are no resources."""

    cluster: Cluster
    issuer: Issuer
    metrics: Metrics = field(default_factory=Metrics)
    _documents: openapi.Documents = field(default_factory=openapi.Documents)

    def handle(self, request: web.Request) -> web.Response | None:
        """The answer to a path that is no resource; None for a path of resources."""
        path = request.path.rstrip("/") or "/"
        match path.split("/")[1:]:
            case ["healthz" | "livez" | "readyz", *_] as parts:
                return health.answer(request, parts)
            case ["version"]:
                return bodies.answer(msgspec.json.format(msgspec.json.encode(VERSION), indent=2))
            case ["metrics"]:
                return web.Response(text=self.metrics.text(self.cluster), content_type="text/plain")
            case ["openapi", *rest]:
                return self._openapi(rest, request.headers.get("Accept", ""))
            case ["api" | "apis", *rest]:
                return self._discovery(request, path, rest)
            case [""]:
                return bodies.answer({"paths": self._paths()})
            case [".well-known", "openid-configuration"]:
                return bodies.answer(self.issuer.configuration())
            case ["openid", "v1", "jwks"]:
                document = msgspec.json.encode(self.issuer.keys())
                return web.Response(body=document, content_type="application/jwk-set+json")
            case _:
                raise errors.no_such_path()

    def _discovery(self, request: web.Request, path: str, rest: list[str]) -> web.Response | None:
        kinds = self.cluster.scheme.kinds()
        core = path.startswith("/api/") or path == "/api"
        match rest:
            case []:
                return self._roots(request, core=core)
            case [version] if core:
                return self._versioned("", version)
            case [group]:
                found = sorted({kind.version for kind in kinds if kind.group == group})
                if not found or core:
                    raise errors.no_such_path()
                return bodies.answer({"kind": "APIGroup", "apiVersion": "v1", **discovery.api_group(group, found)})
            case [group, version] if not core:
                return self._versioned(group, version)
            case _:
                return None

    def _paths(self) -> list[str]:
        """What can be asked for, as the root lists it."""
        versions = {(kind.group, kind.version) for kind in self.cluster.scheme.kinds() if kind.group}
        groups = {f"/apis/{group}" for group, _ in versions} | {f"/apis/{g}/{v}" for g, v in versions}
        checks = {f"/{which}" for which in health.KINDS}
        checks |= {f"{which}/{name}" for which in checks for name in health.CHECKS}
        others = {"/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/metrics", "/openapi/v2"}
        return sorted(groups | checks | others | {"/openapi/v3", "/openid/v1/jwks", "/version"})

    def _versioned(self, group: str, version: str) -> web.Response:
        document = discovery.resource_list(self.cluster.scheme.kinds(), group, version)
        if not document["resources"]:
            raise errors.no_such_path()
        return bodies.answer(document)

    def _roots(self, request: web.Request, *, core: bool) -> web.Response:
        kinds, accept = self.cluster.scheme.kinds(), request.headers.get("Accept", "")
        if not _AGGREGATED.search(accept):
            return bodies.answer(discovery.api_versions() if core else discovery.api_group_list(kinds))
        first = next(part for part in accept.split(",") if _AGGREGATED.search(part))
        version: Literal["v2", "v2beta1"] = "v2beta1" if _OLDER.search(first) else "v2"
        document = discovery.aggregated(kinds, core=core, version=version)
        tag = discovery.etag(document)
        media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        headers = {"ETag": tag, "Vary": "Accept", "Content-Type": media}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=bodies.answer(document).body, headers=headers)

    def _schemas(self) -> dict[tuple[str, str, str], Obj]:
        return usage.SCHEMAS | {
            (custom.kind.group, custom.kind.version, custom.kind.kind): custom.schema
            for custom in self.cluster.scheme.customs()
        }

    def _openapi(self, rest: list[str], accept: str) -> web.Response:
        kinds, schemas = self.cluster.scheme.kinds(), self._schemas()
        match rest:
            case ["v2"] if "proto-openapi" in accept:
                document = self._documents.v2(kinds, schemas)
                return web.Response(body=document, headers={"Content-Type": openapi_v2.MEDIA_TYPE})
            case ["v2"]:
                return bodies.answer(self._documents.swagger(kinds, schemas))
            case ["v3"]:
                return bodies.answer(self._documents.v3_index(kinds, schemas))
            case ["v3", *below]:
                return self._openapi_v3(below)
            case _:
                raise errors.no_such_path()

    def _openapi_v3(self, rest: list[str]) -> web.Response:
        match rest:
            case ["api", version]:
                group = ""
            case ["apis", group, version]:
                pass
            case _:
                raise errors.no_such_path()
        document = self._documents.v3(group, version, self.cluster.scheme.kinds(), self._schemas())
        if not document:
            raise errors.no_such_path()
        return bodies.answer(document)
