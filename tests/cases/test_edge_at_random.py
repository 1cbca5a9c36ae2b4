"""Gateways at random: the model and Envoy's resources agree on each request, and Envoy takes the resources."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cases.edge import EdgeCase, by_model, chain_of, outcome_shares, read_edge, simulated
from tests.cases.edge_in_envoy import secrets, write_files
from tests.cases.in_envoy import Place, place
from tests.support import edge_pki, envoy
from tests.support.envoy import open_to_proxies

from weft.model.router import Requests
from weft.xds.generate import Generator

HOSTS = ("a.example.com", "b.example.com", "*.example.com", "x.a.example.com", "*.a.example.com", "*")
MODES = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL", "PASSTHROUGH", "AUTO_PASSTHROUGH")
PORTS = (80, 81, 443)
CERTIFICATES = ("", "client", "stranger", "member")
SERVICES = [
    {
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": address, "ports": [{"name": "http", "port": 80}, {"name": "tcp", "port": 9100}]},
    }
    for name, address in (("web", "10.96.1.1"), ("api", "10.96.1.2"))
]
FROM = {"namespace": "istio-system", "gateway": {"istio": "ingressgateway"}}

hosts = st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True)
destinations = st.builds(
    lambda host, port: {"destination": {"host": host, "port": {"number": port}}},
    st.sampled_from(("web", "api", "nobody")),
    st.sampled_from((80, 9100)),
)


@st.composite
def servers(draw: st.DrawFn, index: int) -> dict[str, Any]:
    protocol = draw(st.sampled_from(("HTTP", "HTTPS", "TLS", "TCP", "GRPC")))
    port = {"number": draw(st.sampled_from(PORTS)), "name": f"port-{index}", "protocol": protocol}
    server: dict[str, Any] = {"port": port, "hosts": draw(hosts)}
    if draw(st.integers(0, 5)) == 0:
        server["bind"] = "127.0.0.2"
    if protocol in {"HTTPS", "TLS"}:
        mode = draw(st.sampled_from(MODES))
        server["tls"] = {"mode": mode}
        if mode in MODES[:3]:
            server["tls"]["credentialName"] = f"secret-{index}"
    elif protocol == "HTTP" and draw(st.booleans()):
        server["tls"] = {"httpsRedirect": True}
    return server


@st.composite
def gateways(draw: st.DrawFn, number: int) -> dict[str, Any]:
    listed = [draw(servers(index)) for index in range(draw(st.integers(1, 3)))]
    meta = {"name": f"edge-{number}", "namespace": "shop", "creationTimestamp": f"2026-01-0{number + 1}T00:00:00Z"}
    return {"kind": "Gateway", "metadata": meta, "spec": {"selector": FROM["gateway"], "servers": listed}}


@st.composite
def rules(draw: st.DrawFn, number: int) -> dict[str, Any]:
    named = draw(hosts)
    gateway = st.sampled_from(("edge-0", "edge-1"))
    spec: dict[str, Any] = {
        "hosts": named,
        "gateways": draw(st.lists(gateway, min_size=1, max_size=2, unique=True)),
    }
    match = st.fixed_dictionaries(
        {},
        optional={
            "uri": st.sampled_from(({"prefix": "/p"}, {"exact": "/e"})),
            "port": st.sampled_from(PORTS),
            "gateways": st.lists(gateway, min_size=1, max_size=1),
        },
    )
    spec["http"] = [
        {"match": draw(st.lists(match, max_size=2)), "route": [draw(destinations)]}
        for _ in range(draw(st.integers(1, 3)))
    ]
    if draw(st.booleans()):
        spec["tcp"] = [{"match": [{"port": draw(st.sampled_from(PORTS))}], "route": [draw(destinations)]}]
    if draw(st.booleans()):
        names = [each for each in named if each != "*"] or ["c.example.com"]
        spec["tls"] = [{"match": [{"sniHosts": names}], "route": [draw(destinations)]}]
    meta = {"name": f"rule-{number}", "namespace": "shop", "creationTimestamp": f"2026-02-0{number + 1}T00:00:00Z"}
    return {"kind": "VirtualService", "metadata": meta, "spec": spec}


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    host = draw(st.sampled_from(("a.example.com", "b.example.com", "x.a.example.com", "other.org")))
    path, port = draw(st.sampled_from(("/", "/p/x", "/e"))), draw(st.sampled_from(PORTS))
    if draw(st.integers(0, 3)) == 0:
        body = {"connect": f"{host}:{port}", "then": {}}
        return {**body, "sni": host} if draw(st.booleans()) else body
    scheme = draw(st.sampled_from(("http", "https")))
    body = {"get": f"{scheme}://{host}:{port}{path}", "headers": {"host": host}, "then": {}}
    if scheme == "https":
        body |= {"certificate": draw(st.sampled_from(CERTIFICATES))}
        body |= {"sni": draw(st.sampled_from((host, "b.example.com", "")))}
    return body


@st.composite
def cases(draw: st.DrawFn) -> EdgeCase:
    objects = [*SERVICES, *(draw(gateways(n)) for n in range(2)), *(draw(rules(n)) for n in range(3))]
    asked = draw(st.lists(requests(), min_size=8, max_size=8))
    return read_edge({"given": objects, "from": FROM, "requests": asked})


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_model_and_envoys_resources_agree(case: EdgeCase) -> None:
    for asked in case.requests:
        chain = chain_of(asked, case)
        if not asked.is_request and chain is not None and isinstance(chain.handler, Requests):
            continue  # whatever it says is no HTTP
        assert by_model(asked, case) == outcome_shares(simulated(asked, case)), asked


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place("weft-edge-random", capture=False) as made:
        yield made


def test_envoy_takes_them(here: Place, tmp_path: Path) -> None:
    open_to_proxies(tmp_path)
    write_files(tmp_path / "certs")
    started = envoy.started(
        Generator().resources(read_edge({"given": SERVICES, "from": FROM}).case.view),
        edge_pki.gateway(),
        namespace=here.namespace,
    )
    with started as (_, management):

        @settings(
            max_examples=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(cases())
        def each_is_taken(case: EdgeCase) -> None:
            management.secrets = secrets(case)
            before = management.heard.total()
            resources = Generator().resources(case.case.view)
            changed = resources != management.resources
            management.update(resources)
            if changed:
                envoy.wait_until(lambda: management.heard.total() > before)
            assert management.rejected == []

        each_is_taken()
