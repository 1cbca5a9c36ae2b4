"""Two versions of a service and a client, each with the real Envoy as its sidecar, in network namespaces."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
from tests.support import envoy, mesh
from tests.support.city import BY_USER, CANARY, HOST, V1, V2, City, running_city
from tests.support.identities import Authority

from weft.model.client_tls import ClientTls, TlsMode
from weft.model.routing import (
    Abort,
    Delay,
    Destination,
    HostRoutes,
    HttpRoute,
    MatchKind,
    RequestMatch,
    Retries,
    StringMatch,
    Unresolved,
)
from weft.model.services import Protocol
from weft.model.traffic import HostTraffic, TrafficPolicy
from weft.xds.simulate import Request, simulate

SAY = """
import grpc, sys
with grpc.insecure_channel(sys.argv[1]) as channel:
    print(channel.unary_unary("/test.Echo/Say")(b"hi", timeout=10).decode())
"""

GREETED = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as connection:
    lines = connection.makefile("rwb")
    print(lines.readline().decode(), end="")
    lines.write(b"hi\\n")
    lines.flush()
    print(lines.readline().decode(), end="")
"""

NO_CERTIFICATE = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["istio-http/1.1"])
with socket.create_connection((sys.argv[1], 8080), timeout=10) as connection:
    try:
        with context.wrap_socket(connection) as secure:
            secure.sendall(b"GET / HTTP/1.1\\r\\nHost: canary\\r\\n\\r\\n")
            print(secure.recv(100))
    except ssl.SSLError as error:
        print(error)
"""
UPGRADED = """
import socket
with socket.create_connection(("10.96.0.50", 80), timeout=10) as connection:
    lines = connection.makefile("rwb")
    lines.write(b"GET / HTTP/1.1\\r\\nHost: canary\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n")
    lines.flush()
    print(lines.readline().decode().strip())
    while lines.readline().strip():
        pass
    lines.write(b"hi\\n")
    lines.flush()
    print(lines.readline().decode(), end="")
"""

XFCC = "x-forwarded-client-cert"
HOST_HEADER = ("-H", "Host: canary")


@pytest.fixture(scope="module")
def city() -> Iterator[City]:
    with running_city() as made:
        yield made


def test_requests_go_by_mutual_tls_to_the_application_as_from_127_0_0_6(city: City) -> None:
    with city.calling():
        seen = city.get("http://10.96.0.50/path", *HOST_HEADER)
        headers = city.curl("http://10.96.0.50/", "-I", "-X", "GET", "-o", "/dev/null", "-D", "-", *HOST_HEADER)
    assert seen["peer"] == "127.0.0.6"
    assert seen["path"] == "/path"
    assert "URI=spiffe://cluster.local/ns/canary/sa/toolbox" in seen["headers"][XFCC]
    assert "By=spiffe://cluster.local/ns/canary/sa/canary" in seen["headers"][XFCC]
    assert seen["headers"]["x-envoy-attempt-count"] == "1"
    assert "x-request-id" in seen["headers"]
    lines = [line.strip() for line in headers.splitlines()]
    assert "server: envoy" in lines
    names = sorted(line.partition(":")[0] for line in lines[1:] if line)
    assert names == ["content-length", "date", "server", "x-envoy-upstream-service-time"]


def test_paths_are_normalized_and_upgrades_passed_on(city: City) -> None:
    with city.calling():
        seen = city.get("http://10.96.0.50/a/./b/../c", "--path-as-is", *HOST_HEADER)
        upgraded = city.client.run(sys.executable, "-c", UPGRADED)
    assert seen["path"] == "/a/c"
    assert upgraded.splitlines() == ["HTTP/1.1 101 Switching Protocols", "you said hi"]


def test_a_pod_reaches_itself_through_its_own_service(city: City) -> None:
    # the servers' sidecars know the services too
    seen = [city.get("http://10.96.0.50/", *HOST_HEADER, pod=city.v1) for _ in range(12)]
    assert {each["name"] for each in seen} == {"v1", "v2"}
    assert {each["peer"] for each in seen} == {"127.0.0.6"}
    assert all("URI=spiffe://cluster.local/ns/canary/sa/canary" in each["headers"][XFCC] for each in seen)


def test_a_pod_of_a_headless_service_is_reached_by_its_own_address_over_mutual_tls(city: City) -> None:
    with city.calling():
        for pod, name in ((city.v1, "v1"), (city.v2, "v2")):
            seen = city.get(
                f"http://{pod.address}:8080/", "-H", f"Host: {name}.pods.canary.svc.cluster.local:8080"
            )
            assert seen["name"] == name
            assert "URI=spiffe://cluster.local/ns/canary/sa/toolbox" in seen["headers"][XFCC]


def test_a_header_chooses_the_canary(city: City) -> None:
    with city.calling(CANARY):
        chosen = {
            city.get("http://10.96.0.50/", *HOST_HEADER, "-H", "user: zhongmingmao")["name"] for _ in range(10)
        }
        others = {city.get("http://10.96.0.50/", *HOST_HEADER)["name"] for _ in range(10)}
    assert (chosen, others) == ({"v2"}, {"v1"})


def test_a_fault_of_80_percent_answers_500_that_often_and_spares_the_other_route(city: City) -> None:
    fault = HostRoutes(
        (
            HttpRoute((V2,), matches=(BY_USER,), retries=Retries(3, timedelta(seconds=2))),
            HttpRoute((V1,), abort=Abort(80, 500)),
        ),
        rule="canary.canary",
    )
    with city.calling(fault):
        faulty = city.statuses(300, *HOST_HEADER)
        spared = city.statuses(50, *HOST_HEADER, "-H", "user: zhongmingmao")
    assert set(faulty) == {"500", "200"}
    assert 205 <= faulty["500"] <= 275  # five standard deviations around 240
    assert spared == {"200": 50}


def test_a_delay_holds_the_request(city: City) -> None:
    slow = HostRoutes((HttpRoute((V1,), delay=Delay(100, timedelta(seconds=0.7))),), rule="canary.canary")
    with city.calling(slow):
        took = city.curl("http://10.96.0.50/", *HOST_HEADER, "-o", "/dev/null", "-w", "%{time_total}")
    assert 0.7 <= float(took) < 5


def test_a_timeout_ends_the_wait(city: City) -> None:
    both = HostRoutes(
        (HttpRoute((V1,), timeout=timedelta(milliseconds=200), delay=Delay(100, timedelta(milliseconds=600))),)
    )
    unanswered = HostRoutes((HttpRoute((V1,), timeout=timedelta(milliseconds=300)),))
    with city.calling(both):
        # the delay comes before the route's clock starts
        assert city.statuses(1, *HOST_HEADER) == {"200": 1}
    with city.calling(unanswered):
        assert city.statuses(1, *HOST_HEADER, "-H", "x-wait: 2") == {"504": 1}
    with city.calling():
        # the client may ask for a limit itself
        limit = ("-H", "x-envoy-upstream-rq-timeout-ms: 300")
        assert city.statuses(1, *HOST_HEADER, "-H", "x-wait: 2", *limit) == {"504": 1}
        arrived = city.get("http://10.96.0.50/", *HOST_HEADER, *limit)["headers"]
        assert not [name for name in arrived if "weft" in name or name == "x-envoy-upstream-rq-timeout-ms"]


def test_shares_follow_their_weights_and_a_share_that_leads_nowhere_answers_503(city: City) -> None:
    halves = (
        Destination(HOST, 80, "v1", 60),
        Destination(HOST, 80, "v2", 20),
        Unresolved("host not found: nobody", 20),
    )
    with city.calling(HostRoutes((HttpRoute(halves),), rule="canary.canary")):
        answers = city.statuses(300, *HOST_HEADER)
        bodies = city.curl("http://10.96.0.50/?[1-60]", *HOST_HEADER).splitlines()
    names = Counter(json.loads(body)["name"] for body in bodies if body.startswith("{"))
    assert set(answers) == {"200", "503"}
    assert 25 <= answers["503"] <= 95  # five standard deviations around 60
    assert names["v1"] > names["v2"] > 0


def test_503_of_the_application_is_tried_again_elsewhere_and_attempts_0_means_once(city: City) -> None:
    once = HostRoutes((HttpRoute((Destination(HOST, 80, "", 100),), retries=Retries(0)),))
    with city.calling() as sidecar:
        assert city.statuses(1, *HOST_HEADER, "-H", "x-answer: 503") == {"503": 1}
        tries = sidecar.get(f"/stats?filter=cluster.outbound.80..{HOST}.upstream_rq_retry$")
        once_only = ("-H", "x-envoy-max-retries: 0")
        assert city.statuses(1, *HOST_HEADER, "-H", "x-answer: 503", *once_only) == {"503": 1}
        same = sidecar.get(f"/stats?filter=cluster.outbound.80..{HOST}.upstream_rq_retry$")
    with city.calling(once) as sidecar:
        assert city.statuses(1, *HOST_HEADER, "-H", "x-answer: 503") == {"503": 1}
        none = sidecar.get(f"/stats?filter=cluster.outbound.80..{HOST}.upstream_rq_retry$")
    assert (tries.split()[-1], same.split()[-1], none.split()[-1]) == ("2", "2", "0")


def test_endpoints_without_a_sidecar_get_plaintext(city: City) -> None:
    with city.calling():
        seen = city.get("http://10.96.0.55/", "-H", "Host: legacy")
    assert (seen["name"], XFCC in seen["headers"]) == ("outside", False)
    assert seen["peer"] == city.client.address


def test_clients_outside_the_mesh_are_served_in_plaintext_and_cannot_claim_an_identity(city: City) -> None:
    forged = "x-forwarded-client-cert: By=x;URI=spiffe://cluster.local/ns/canary/sa/root"
    seen = city.get(f"http://{city.v1.address}:8080/", "-H", forged, pod=city.outside)
    old = city.get(f"http://{city.v1.address}:8080/", "--http1.0", "-H", "Host:", pod=city.outside)
    assert (seen["name"], seen["peer"]) == ("v1", "127.0.0.6")
    assert XFCC not in seen["headers"]
    assert old["name"] == "v1"


def test_an_application_cannot_pass_on_an_identity_of_its_own_making(city: City) -> None:
    forged = "x-forwarded-client-cert: By=x;URI=spiffe://cluster.local/ns/canary/sa/root"
    with city.calling():
        seen = city.get("http://10.96.0.50/", *HOST_HEADER, "-H", forged)
    assert "sa/root" not in seen["headers"][XFCC]


@pytest.mark.parametrize("stranger", ["authority", "trust domain", "nobody"])
def test_servers_refuse_clients_of_another_authority_or_trust_domain(city: City, stranger: str) -> None:
    signer = Authority() if stranger == "authority" else city.authority
    domain = "evil.local" if stranger == "trust domain" else "cluster.local"
    forged = signer.issue(f"spiffe://{domain}/ns/canary/sa/toolbox")
    # it trusts the server, so that the server alone can refuse
    identity = envoy.Identity(forged.chain, forged.key, city.authority.roots)
    resources = city.generator.resources(city.view(None))
    with envoy.started(resources, identity, namespace=city.client.namespace):
        assert city.statuses(1, *HOST_HEADER) == ({"200": 1} if stranger == "nobody" else {"503": 1})


def test_a_client_without_a_certificate_is_refused(city: City) -> None:
    said = city.outside.run(sys.executable, "-c", NO_CERTIFICATE, city.v1.address)
    refused = city.servers[city.v1.namespace].get("/stats?filter=listener.0.0.0.0_15006.ssl.fail_verify_no_cert")
    assert "200 OK" not in said
    assert refused.split()[-1] == "1"


def test_a_server_that_is_not_the_expected_workload_is_refused(city: City) -> None:
    impostors = tuple(
        mesh.endpoint(city.v1.address, 8080, namespace="canary", account="somebody-else") for _ in range(1)
    )
    view = mesh.view(
        mesh.service_view(
            "canary", "10.96.0.50", [("http", 80, Protocol.HTTP)], namespace="canary", endpoints=impostors
        ),
        namespace="canary",
    )
    identity = city.authority.issue("spiffe://cluster.local/ns/canary/sa/toolbox")
    with envoy.started(city.generator.resources(view), identity, namespace=city.client.namespace):
        assert city.statuses(1, *HOST_HEADER) == {"503": 1}


def test_tls_modes_of_a_rule_hold(city: City) -> None:
    plain = HostTraffic(TrafficPolicy(tls=ClientTls(TlsMode.DISABLE)), rule="canary.canary")
    always = HostTraffic(TrafficPolicy(tls=ClientTls(TlsMode.ISTIO_MUTUAL)), rule="canary.canary")
    with city.calling(traffic=plain):
        assert XFCC not in city.get("http://10.96.0.50/", *HOST_HEADER)["headers"]
    with city.calling(traffic=always):
        assert XFCC in city.get("http://10.96.0.50/", *HOST_HEADER)["headers"]


@pytest.mark.parametrize("address", ["10.96.0.51:9000", "10.96.0.54:80", "10.96.0.52:7001"])
def test_a_server_that_speaks_first_is_heard_over_mutual_tls(city: City, address: str) -> None:
    with city.calling() as sidecar:
        heard = city.client.run(sys.executable, "-c", GREETED, *address.split(":"))
        handshakes = sidecar.get("/stats?filter=cluster.outbound.*ssl.handshake")
    assert heard.splitlines()[0] in {"hello from v1", "hello from v2"}
    assert heard.splitlines()[1] == "you said hi"
    assert any(line.endswith(": 1") for line in handshakes.splitlines())


def test_a_server_that_speaks_first_is_heard_in_plaintext_too(city: City) -> None:
    heard = city.outside.run(sys.executable, "-c", GREETED, city.v1.address, "9000")
    assert heard.splitlines() == ["hello from v1", "you said hi"]


def test_a_port_of_unknown_protocol_is_routed_where_it_turns_out_to_be_http(city: City) -> None:
    with city.calling() as sidecar:
        seen = city.get("http://10.96.0.52:7000/any-host", "-H", "Host: whatever")
        routed = sidecar.get("/stats?filter=http.outbound_10.96.0.52_7000.downstream_rq_2xx")
    assert XFCC in seen["headers"]
    assert routed.split()[-1] == "1"


def test_grpc_goes_over_mutual_tls_from_both_kinds_of_clients(city: City) -> None:
    with city.calling():
        answer = city.client.run(sys.executable, "-c", SAY, "10.96.0.53:9090")
        # HTTP/1.1 from the client, HTTP/2 between the sidecars and to the server
        framed = ("-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary", "@-")
        code = city.client.run(
            *("curl", "-sS", "--http1.1", "--max-time", "10", "-w", "%{http_code}", *framed),
            "http://10.96.0.53:9090/test.Echo/Say",
            stdin="\0\0\0\0\2hi",
        )
    assert "heard hi" in answer
    assert "URI=spiffe://cluster.local/ns/canary/sa/toolbox" in answer
    assert "heard hi" in code
    assert code.endswith("200")


def test_what_no_service_claims_passes_as_dialled(city: City) -> None:
    with city.calling():
        unknown_host = city.get(f"http://{city.outside.address}:8080/")
        other_port = city.get(f"http://{city.outside.address}:8080/", "-H", "Host: nobody.example")
    assert (unknown_host["name"], other_port["name"]) == ("outside", "outside")


def test_nobody_reaches_the_ports_of_the_proxy_itself(city: City) -> None:
    with city.calling(), pytest.raises(AssertionError, match="curl"):
        city.curl(f"http://{city.v1.address}:15006/", pod=city.outside)


EXACT, PREFIX, REGEX, PRESENT = MatchKind.EXACT, MatchKind.PREFIX, MatchKind.REGEX, MatchKind.PRESENT
MATCHES = (
    RequestMatch(uri=StringMatch(EXACT, "/exact")),
    RequestMatch(uri=StringMatch(EXACT, "/Shout", ignore_case=True)),
    RequestMatch(uri=StringMatch(REGEX, "/items/[0-9]+")),
    RequestMatch(uri=StringMatch(REGEX, "/lower/[a-c]", ignore_case=True)),
    RequestMatch(uri=StringMatch(PREFIX, "/api"), method=StringMatch(EXACT, "POST")),
    RequestMatch(uri=StringMatch(PREFIX, "/api"), query=(("v", StringMatch(EXACT, "2")),)),
    RequestMatch(headers=(("end-user", StringMatch(REGEX, "j.*n")),)),
    RequestMatch(headers=(("debug", StringMatch(PRESENT)),), uri=StringMatch(PREFIX, "/debug")),
    RequestMatch(without_headers=(("internal", StringMatch(EXACT, "yes")),), uri=StringMatch(PREFIX, "/public")),
    RequestMatch(without_headers=(("token", StringMatch(PRESENT)),), uri=StringMatch(PREFIX, "/token")),
    RequestMatch(authority=StringMatch(PREFIX, "canary.canary.svc")),
    RequestMatch(headers=(("cookie", StringMatch(PREFIX, "user=")),)),
    RequestMatch(query=(("flag", StringMatch(PRESENT)),)),
)
SAMPLES: tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...] = (
    ("GET", "canary", "/exact", ()),
    ("GET", "canary", "/exact?x=1", ()),
    ("GET", "canary", "/exact/more", ()),
    ("GET", "canary", "/sHOUT", ()),
    ("GET", "canary", "/items/42", ()),
    ("GET", "canary", "/items/42/x", ()),
    ("GET", "canary", "/LOWER/B", ()),
    ("POST", "canary", "/api/x", ()),
    ("GET", "canary", "/api/x?v=2", ()),
    ("GET", "canary", "/api/x?v=22", ()),
    ("GET", "canary", "/", (("end-user", "john"),)),
    ("GET", "canary", "/", (("end-user", "johnny"),)),
    ("GET", "canary", "/debug", (("debug", "1"),)),
    ("GET", "canary", "/debug", ()),
    ("GET", "canary", "/public", ()),
    ("GET", "canary", "/public", (("internal", "yes"),)),
    ("GET", "canary", "/public", (("internal", "no"),)),
    ("GET", "canary", "/token", ()),
    ("GET", "canary", "/token", (("token", "1"),)),
    ("GET", "canary.canary.svc", "/", ()),
    ("GET", "canary.canary:80", "/", ()),
    ("GET", "CANARY", "/exact", ()),
    ("GET", "canary", "/", (("cookie", "user=me"),)),
    ("GET", "canary", "/?flag", ()),
    ("GET", "10.96.0.50", "/exact", ()),
)


def test_the_simulator_says_what_envoy_does(city: City) -> None:
    # each route answers with a status of its own, and nothing is left for the requests that match none
    routes = tuple(
        HttpRoute((V1,), matches=(match,), abort=Abort(100, 520 + number)) for number, match in enumerate(MATCHES)
    )
    rules = HostRoutes(routes, rule="canary.canary")
    resources = city.generator.resources(city.view(rules))
    said, done = [], []
    with city.calling(rules):
        for method, host, path, headers in SAMPLES:
            outcome = simulate(Request("10.96.0.50", 80, host, path, method, headers), resources)
            said.append(outcome.abort.status if outcome.abort else outcome.status)
            options = [item for name, value in headers for item in ("-H", f"{name}: {value}")]
            code = city.curl(
                f"http://10.96.0.50{path}",
                *("-X", method, "-H", f"Host: {host}", "-o", "/dev/null", "-w", "%{http_code}"),
                *options,
            )
            done.append(int(code))
    assert dict(zip(SAMPLES, said, strict=True)) == dict(zip(SAMPLES, done, strict=True))
    assert len(set(done)) == len(MATCHES) + 1  # every route was taken, and none
