"""The agent's own metrics, under Istio's names where Istio has them."""

from weft.adapters import clock
from weft.processes.agent.holding import Holding, Life
from weft.processes.agent.identity import Requests
from weft.processes.agent.supervisor import Supervisor
from weft.xds.names import TRUST_ROOTS, WORKLOAD_CERTIFICATE


def metrics(holding: Holding, requests: Requests, supervisor: Supervisor) -> str:
    """Prometheus' text. What there is no certificate for is good for zero seconds."""
    csr = 'request_type="csr"'
    return "".join(
        (
            _family(
                "istio_agent_cert_expiry_seconds",
                "gauge",
                {
                    f'resource_name="{WORKLOAD_CERTIFICATE}"': _seconds(holding.own),
                    f'resource_name="{TRUST_ROOTS}"': _seconds(holding.roots),
                },
            ),
            _family("istio_agent_num_outgoing_requests_total", "counter", {csr: requests.made}),
            _family("istio_agent_num_failed_outgoing_requests_total", "counter", {csr: requests.failed}),
            _family("weft_agent_envoy_restarts_total", "counter", {"": supervisor.restarts}),
        )
    )


def _family(name: str, kind: str, values: dict[str, float]) -> str:
    lines = (
        f"{name}{{{labels}}} {value:.0f}\n" if labels else f"{name} {value:.0f}\n"
        for labels, value in values.items()
    )
    return "".join((f"# TYPE {name} {kind}\n", *lines))


def _seconds(life: Life | None) -> float:
    return life.left(clock.now()).total_seconds() if life else 0.0
