"""What headers may hold, tried on the real Envoy."""

from tests.support import envoy, mesh
from tests.support.identities import Authority

from weft.api.header_checks import COMMANDS
from weft.model.routing import Destination, HeaderChanges, Headers, HostRoutes, HttpRoute
from weft.model.services import Protocol
from weft.xds.generate import generate

HOST = "web.sidecar.svc.cluster.local"
WITH = {
    "CEL": "request.path", "CLUSTER_METADATA": "a:b", "DYNAMIC_METADATA": "a:b", "ENVIRONMENT": "HOME",
    "FILTER_STATE": "a:PLAIN", "METADATA": "ROUTE:a:b", "QUERY_PARAM": "a", "REQ": "x-a?x-b", "RESP": "x-a",
    "START_TIME": "%Y/%m", "TRAILER": "x-a", "UPSTREAM_METADATA": "a:b",
}  # fmt: skip


def test_envoy_takes_every_command_that_headers_may_hold() -> None:
    commands = {
        f"x-{name.lower().replace('_', '-')}": f"%{name}({WITH[name]})%" if name in WITH else f"%{name}%"
        for name in sorted(COMMANDS)
    }
    headers = Headers(HeaderChanges(set=tuple(commands.items())), HeaderChanges(add=tuple(commands.items())))
    routes = HostRoutes((HttpRoute((Destination(HOST, 80, "", 100),), headers=headers),))
    view = mesh.view(mesh.service_view("web", "10.96.1.1", [("http", 80, Protocol.HTTP)], routes=routes))
    with envoy.started(generate(view), Authority().issue("spiffe://cluster.local/ns/a/sa/b")) as (_, management):
        assert management.rejected == []
