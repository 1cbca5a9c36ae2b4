"""What no endpoint may lead to: the interface of the very proxy that would dial it, and its credentials."""

from typing import Any

import pytest

from weft.model.store import Store

PORT = {"number": 80, "name": "http", "protocol": "HTTP"}


def refused(kind: str, spec: dict[str, Any]) -> list[str]:
    store = Store()
    store.apply(kind, {"kind": kind, "metadata": {"name": "x", "namespace": "shop"}, "spec": spec})
    return [
        f"{each.at.field} {each.message}" for each in store.snapshot().problems if each.severity.name == "ERROR"
    ]


def entry(address: str, port: int, *, named: bool = True) -> dict[str, Any]:
    endpoint = {"address": address, **({"ports": {"http": port}} if named else {})}
    own = PORT if named else PORT | {"targetPort": port}
    resolution = "STATIC" if address[0].isdigit() or ":" in address else "DNS"
    return {"hosts": ["a.example"], "ports": [own], "resolution": resolution, "endpoints": [endpoint]}


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "localhost"]
)
@pytest.mark.parametrize("named", [True, False])
def test_no_endpoint_is_the_interface_of_the_proxy_that_dials_it(address: str, *, named: bool) -> None:
    for port in (15000, 15020):
        (said,) = refused("ServiceEntry", entry(address, port, named=named))
        assert said.startswith("spec.endpoints[0].address port 150")
    assert refused("ServiceEntry", entry(address, 8080, named=named)) == []


def test_another_machines_port_of_that_number_is_nobodys_business() -> None:
    assert refused("ServiceEntry", entry("203.0.113.7", 15000)) == []


@pytest.mark.parametrize(
    "path",
    [
        "/etc/istio/proxy/SDS",
        "/etc/istio/proxy/XDS",
        "//etc/istio/../istio/proxy/SDS",
        "/var/run/secrets/workload-spiffe-uds/socket",
        "/run/secrets/credential-uds/socket",
        "/proc/self/root/etc/istio/proxy/SDS",
    ],
)
def test_no_socket_is_that_of_the_proxys_credentials(path: str) -> None:
    endpoint = {"address": f"unix://{path}"}
    spec = {"hosts": ["a.example"], "ports": [PORT], "resolution": "STATIC", "endpoints": [endpoint]}
    assert any("where proxies have their credentials" in each for each in refused("ServiceEntry", spec))
    ingress = {"port": PORT, "defaultEndpoint": f"unix://{path}"}
    assert any("credentials" in each for each in refused("Sidecar", {"ingress": [ingress]}))


@pytest.mark.parametrize("place", ["127.0.0.1:15000", "[::1]:15020", "0.0.0.0:15000"])
def test_no_listener_of_a_sidecars_leads_to_the_proxys_own_ports(place: str) -> None:
    said = refused("Sidecar", {"ingress": [{"port": PORT, "defaultEndpoint": place}]})
    assert said == [f'spec.ingress[0].defaultEndpoint "{place}" is a port of the proxy\'s own.']


def test_a_workload_has_an_address_that_others_reach() -> None:
    (said,) = refused("WorkloadEntry", {"address": "127.0.0.1"})
    assert "leads back to whoever dials it" in said
