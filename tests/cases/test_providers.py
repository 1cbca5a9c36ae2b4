"""Every field of a provider of ext_authz: what it is shown, and what becomes of its answers.

By the simulator, and by the real Envoy with a provider that says what the case says. Each case has a policy and a
provider of its own name, both for the path of that name.
"""

from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cases import access, tokens
from tests.cases.access_in_envoy import Callers, callers, served
from tests.cases.edge import load_edge, outcome_shares, simulated
from tests.cases.edge_in_envoy import gateway
from tests.cases.in_envoy import place
from tests.support import ext_authz
from tests.support.envoy import open_to_proxies

from weft.adapters import netns
from weft.xds import names, simulate

CASES: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "providers.yaml").read_text())
PORTS = {"http": 9001, "grpc": 9002}
HOST = "decides.example.com"
ADDRESS = "127.64.0.2"


def says(name: str) -> ext_authz.Said:
    return ext_authz.Said(**CASES[name].get("says", {}))


def given() -> dict[str, Any]:
    """The objects: for each case a provider and a policy that has it asked."""
    meta = {"namespace": "shop"}
    entry = {
        "hosts": [HOST],
        "resolution": "STATIC",
        "ports": [{"number": number, "name": name, "protocol": name.upper()} for name, number in PORTS.items()],
        "endpoints": [{"address": ADDRESS}],
    }
    providers, objects = [], []
    for name, case in CASES.items():
        by = next(each for each in PORTS if each in case)
        written = {"service": HOST, "port": PORTS[by], "timeout": "5s", **case[by]}
        providers.append({"name": name, f"envoyExtAuthz{by.capitalize()}": written})
        rules = [{"to": [{"operation": {"paths": [f"/{name}"], "ports": ["8080"]}}]}]
        spec = {"action": "CUSTOM", "provider": {"name": name}, "rules": rules}
        objects.append({"kind": "AuthorizationPolicy", "metadata": {**meta, "name": name}, "spec": spec})
    mesh = yaml.safe_dump({"extensionProviders": providers})
    config = {"name": "istio", "namespace": "istio-system"}
    return {
        "given": [
            {"kind": "ConfigMap", "metadata": config, "data": {"mesh": mesh}},
            {"kind": "ServiceEntry", "metadata": {**meta, "name": "decides"}, "spec": entry},
            *objects,
        ]
    }


@pytest.fixture(scope="module")
def case() -> access.Access:
    return access.read(given())


@pytest.fixture(scope="module")
def provider() -> ext_authz.Provider:
    return ext_authz.Provider(lambda shown: says(shown.path.rpartition("/")[2]))


@pytest.fixture(scope="module")
def asking(
    case: access.Access, provider: ext_authz.Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callers]:
    with (
        callers(tmp_path_factory.mktemp("callers")) as made,
        ext_authz.serving(provider, ADDRESS, made.here.namespace),
        served(case, made),
    ):
        yield made


@pytest.mark.parametrize("name", CASES)
def test_envoy_shows_a_provider_what_the_case_says_and_heeds_its_answer(
    name: str, asking: Callers, provider: ext_authz.Provider
) -> None:
    wanted, ask = CASES[name], CASES[name].get("ask", {})
    provider.shown.clear()
    asking.here.seen.clear()

    def answered() -> tuple[int, dict[str, str], str]:
        connection = HTTPConnection(access.POD, 8080, timeout=10)
        headers = {"host": "web", **ask.get("headers", {})}
        connection.request(ask.get("method", "GET"), f"/{name}", ask.get("body"), headers)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response.status, {key.lower(): value for key, value in response.getheaders()}, body

    status, headers, body = netns.inside(asking.here.namespace, answered)
    client = wanted.get("client", {})
    assert status == client.get("status", 200)
    assert _differing(client.get("headers", {}), headers) == {}
    assert body == client.get("body", body)
    if "shown" in wanted:
        [shown] = provider.shown
        told = wanted["shown"]
        assert (shown.method, shown.path) == (told.get("method", shown.method), told.get("path", shown.path))
        assert shown.body.decode() == told.get("body", shown.body.decode())
        assert _differing(told.get("headers", {}), shown.headers) == {}
    assert len(asking.here.seen) == (status == 200)
    if "application" in wanted:
        assert _differing(wanted["application"], asking.here.seen[0].headers) == {}


@pytest.mark.parametrize("name", [each for each in CASES if each != "body-too-long"])
def test_the_simulator_heeds_a_providers_answer_as_the_case_says(name: str, case: access.Access) -> None:
    wanted, ask = CASES[name], CASES[name].get("ask", {})
    said = says(name)
    by = next(each for each in PORTS if each in wanted)
    cluster = names.outbound_cluster(HOST, PORTS[by])
    in_time = 0 if said.wait else said.status
    answer = simulate.ProviderAnswer(in_time, tuple(said.headers.items()), said.body.encode())
    request = simulate.Request(
        access.POD,
        8080,
        host="web",
        path=f"/{name}",
        method=ask.get("method", "GET"),
        headers=tuple(ask.get("headers", {}).items()),
        inbound=True,
        answers=((cluster, answer),),
    )
    outcome = simulate.simulate(request, case.resources)
    client = wanted.get("client", {})
    assert outcome.asked == (cluster,)
    assert (outcome.status or 200) == client.get("status", 200)
    told = dict((*outcome.headers.response_set, *outcome.headers.response_add))
    assert _differing(client.get("headers", {}), told) == {}
    if outcome.status:
        assert outcome.body.decode() == client.get("body", outcome.body.decode())
    elif "application" in wanted:
        seen = {**dict(request.headers), **dict(outcome.headers.request_set)}
        assert _differing(wanted["application"], seen) == {}


def _differing(wanted: dict[str, str | None], found: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    return {name: (value, found.get(name)) for name, value in wanted.items() if found.get(name) != value}


LOGIN = Path(__file__).parent / "login.yaml"


def test_a_login_proxy_brings_the_token_and_may_choose_the_route(tmp_path: Path) -> None:
    edge = load_edge(LOGIN, str(tmp_path / "certs"))
    token = yaml.safe_load(LOGIN.read_text())["tokens"]["ME"]
    told = {"authorization": f"Bearer {tokens.token(token)}", "x-user": "me"}
    answers = ((names.outbound_cluster(HOST, 9001), simulate.ProviderAnswer(headers=tuple(told.items()))),)
    for each in edge.requests:
        outcome = simulated(each, edge, answers)
        assert outcome_shares(outcome) == each.request.then, (each, outcome)
    open_to_proxies(tmp_path)
    provider = ext_authz.Provider(lambda _: ext_authz.Said(headers=told))
    with (
        place("weft-edge", capture=False) as here,
        ext_authz.serving(provider, ADDRESS, here.namespace),
        gateway(edge, here, tmp_path / "certs") as (proxy, _),
    ):
        for asked in edge.requests:
            found = proxy.ask(asked)
            assert ((str(found.status), 100.0),) == asked.request.then, asked
