"""Which endpoints get requests, and by which TLS: as the model has it, and as the simulator reads it."""

from typing import Any

from tests.cases.engine import Case

from weft.model.placing import groups, placement
from weft.model.view import ServiceView
from weft.xds import names, simulate
from weft.xds.generate import Generator
from weft.xds.simulate_endpoints import Reached, reached


def placed(case: Case, destination: str) -> dict[str, float]:
    """The share of each endpoint by the model, where endpoints of one priority are all ready or all not."""
    service, port, subset = _parts(case, destination)
    policy = next((each for each in service.traffic.subsets if each.name == subset), service.traffic).at(port)
    labels = next((each.labels for each in service.traffic.subsets if each.name == subset), ())
    mesh = case.view.mesh
    setting = placement(policy, service.service.nearness, mesh.locality, mesh.zones)
    endpoints = next(each.endpoints for each in service.ports if each.number == port)
    found = groups((e for e in endpoints if set(labels) <= set(e.labels)), setting, service.near)
    ready = [each for each in found if all(endpoint.healthy for endpoint in each.endpoints)]
    first = [each for each in ready if each.priority == min(one.priority for one in ready)]
    total = sum(each.weight for each in first)
    shares: dict[str, float] = {}
    for group in first:
        part = group.weight / total / sum(each.weight for each in group.endpoints)
        shares |= {each.address: round(100.0 * part * each.weight, 2) for each in group.endpoints}
    return shares


def simulated(case: Case, destination: str) -> dict[str, float]:
    """The share of each endpoint by the resources that Envoy gets."""
    found = _reached(case, destination)
    return {each.address.rpartition(":")[0]: round(each.percent, 2) for each in found}


def secured(case: Case, destination: str) -> list[dict[str, Any] | None]:
    """The TLS towards the endpoints, each kind once."""
    kinds = dict.fromkeys(each.tls for each in _reached(case, destination))
    return [None if each is None else _written(each) for each in kinds]


def _written(tls: Any) -> dict[str, Any]:
    fields = {"sni": tls.server_name, "certificate": tls.certificate, "roots": tls.roots, "names": list(tls.names)}
    return {key: value for key, value in fields.items() if value}


def _reached(case: Case, destination: str) -> tuple[Reached, ...]:
    service, port, subset = _parts(case, destination)
    http = next(each for each in service.service.ports if each.number == port).protocol.is_http
    request = simulate.Request(address="10.0.0.1", port=port, host=service.service.name, http=http)
    name = names.outbound_cluster(service.service.hostname, port, subset)
    return reached(name, request, Generator().resources(case.view))


def _parts(case: Case, destination: str) -> tuple[ServiceView, int, str]:
    hostname, port, subset = destination.split("|")
    return next(each for each in case.view.services if each.service.hostname == hostname), int(port), subset
