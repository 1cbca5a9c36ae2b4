"""Routes of connections that no port of their hosts can use, since it speaks something else."""

from collections.abc import Iterable, Iterator

from weft.api import codes
from weft.api.report import Report
from weft.api.virtual_service_checks import MESH
from weft.base.problem import Problem
from weft.model.registered import Registered
from weft.model.routing_rule import RoutingRule
from weft.model.services import Protocol, ServicePort
from weft.model.stream_rules import StreamRule


def problems(rule: RoutingRule, services: Iterable[Registered], report: Report) -> Iterator[Problem]:
    """What sidecars cannot use; where gateways take part, the routes may be for these."""
    ports = [port for each in services for port in each.service.ports]
    if not ports or rule.gateways != (MESH,):
        return
    kinds = (
        (rule.streams.tls, "TLS", "Name the port for it, as in tls-web or https."),
        (rule.streams.tcp, "TCP", "Name the port for it, as in tcp-db."),
    )
    for routes, what, hint in kinds:
        for route in routes:
            asked = [port for port in ports if _asks(route, port)]
            if not any(_speaks(port, what) for port in asked):
                numbers = ", ".join(str(number) for number in sorted({port.number for port in asked}))
                why = f"no port of its hosts speaks {what} (of {numbers})" if asked else "no host has its port"
                yield report.warning(route.field, f"has no effect: {why}.", hint, codes.UNREACHABLE)


def _asks(route: StreamRule, port: ServicePort) -> bool:
    return any(each.port in {0, port.number} for each in route.conditions)


def _speaks(port: ServicePort, what: str) -> bool:
    tls = port.protocol in {Protocol.TLS, Protocol.HTTPS}
    return tls if what == "TLS" else not tls and not port.protocol.is_http
