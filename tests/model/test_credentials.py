from typing import Any

from weft.base.problem import Problem
from weft.model import credentials
from weft.model.credentials import CredentialTrouble
from weft.model.store import Store


def gateway(name: str, *servers: dict[str, Any], **selector: str) -> dict[str, Any]:
    spec = {"selector": selector or {"istio": "ingressgateway"}, "servers": list(servers)}
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata, "spec": spec}


def server(host: str, **tls: Any) -> dict[str, Any]:
    port = {"number": 443, "name": f"https-{host[0]}", "protocol": "HTTPS"}
    return {"hosts": [host], "port": port, "tls": {"mode": "SIMPLE", **tls}}


def told(store: Store, *troubles: CredentialTrouble) -> list[tuple[str, str, str]]:
    return [(each.at.name, each.at.field, each.message) for each in found(store, *troubles)]


def found(store: Store, *troubles: CredentialTrouble) -> list[Problem]:
    directory = store.snapshot().directory
    return list(credentials.problems(directory.gateways, directory.destination_rules, troubles))


def trouble(name: str, **labels: object) -> CredentialTrouble:
    return CredentialTrouble.of(f"kubernetes://{name}", f"there is no Secret edge/{name}", labels)


def test_a_missing_secret_is_told_at_the_servers_that_name_it() -> None:
    store = Store()
    servers = server("a.example", credentialName="here"), server("b.example", credentialName="gone")
    store.apply("Gateway", gateway("edge", *servers))
    assert told(store, trouble("gone", istio="ingressgateway", app="edge")) == [
        ("edge", "spec.servers[1].tls.credentialName", "there is no Secret edge/gone.")
    ]


def test_missing_roots_are_told_at_the_servers_that_verify_clients() -> None:
    store = Store()
    store.apply("Gateway", gateway("edge", server("a.example", credentialName="web", mode="MUTUAL")))
    assert [name for name, _, _ in told(store, trouble("web-cacert", istio="ingressgateway"))] == ["edge"]


def test_gateways_that_the_asking_pod_does_not_serve_are_not_to_blame() -> None:
    store = Store()
    store.apply("Gateway", gateway("edge", server("a.example", credentialName="gone"), istio="other"))
    assert told(store, trouble("gone", istio="ingressgateway")) == []


def test_the_problem_is_istios_and_says_what_goes_on() -> None:
    store = Store()
    store.apply("Gateway", gateway("edge", server("a.example", credentialName="gone")))
    (problem,) = found(store, trouble("gone", istio="ingressgateway"))
    assert problem.code == "IST0101"
    assert "The rest of the gateway goes on" in problem.hint


def test_a_rule_for_some_clients_is_told_what_these_do_not_get() -> None:
    store = Store()
    spec = {
        "host": "pay.example.com",
        "workloadSelector": {"matchLabels": {"app": "shop"}},
        "trafficPolicy": {"tls": {"mode": "MUTUAL", "credentialName": "client"}},
    }
    metadata = {"name": "pay", "namespace": "shop"}
    kind = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule"}
    store.apply("DestinationRule", {**kind, "metadata": metadata, "spec": spec})
    expected = [("pay", "spec.trafficPolicy.tls.credentialName", "there is no Secret edge/client-cacert.")]
    assert told(store, trouble("client-cacert", app="shop")) == expected
    assert told(store, trouble("client", app="shop")) != []
    assert told(store, trouble("client", app="other")) == []
