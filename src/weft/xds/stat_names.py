"""The names that clusters are counted under (MeshConfig, inboundClusterStatName and outboundClusterStatName)."""

import re
from collections.abc import Mapping

from weft.model.services import InboundPort

_VARIABLE = re.compile(r"%([A-Z_]+)%")


def inbound(pattern: str, port: InboundPort) -> str:
    """The name of an inbound cluster."""
    return _filled(
        pattern,
        {
            **_service(port.hostname),
            "SERVICE_PORT": str(port.service_port),
            "TARGET_PORT": str(port.number),
            "SERVICE_PORT_NAME": port.name,
        },
    )


def outbound(pattern: str, hostname: str, port: int, port_name: str, subset: str) -> str:
    """The name of an outbound cluster."""
    return _filled(
        pattern,
        {
            **_service(hostname),
            "SERVICE_PORT": str(port),
            "SERVICE_PORT_NAME": port_name,
            "SUBSET_NAME": subset,
        },
    )


def _service(hostname: str) -> dict[str, str]:
    """`%SERVICE%` is `name.namespace` of a Kubernetes service, and any other host as it is."""
    name, _, rest = hostname.partition(".")
    namespace, _, after = rest.partition(".")
    short = f"{name}.{namespace}" if after.startswith("svc.") else hostname
    return {"SERVICE": short, "SERVICE_NAME": name, "SERVICE_FQDN": hostname}


def _filled(pattern: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: values.get(found[1], found[0]), pattern)
