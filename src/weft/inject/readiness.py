"""Whether a sidecar can serve, read from Envoy's own statistics."""

import re

FILTER = (
    r"^(server\.state|listener_manager\.workers_started|"
    r"(cluster_manager\.cds|listener_manager\.lds)\.update_(success|rejected))$"
)
"""A filter for Envoy's `/stats` that selects what `reason` reads."""

_LIVE = 0


def reason(stats: str) -> str:
    """Why the proxy is not ready; "" when it is. `stats` is the text of `/stats?filter=FILTER`."""
    numbers = {name: int(value) for name, value in re.findall(r"^([\w.]+): (\d+)$", stats, re.MULTILINE)}
    for update, what in (("cluster_manager.cds", "clusters"), ("listener_manager.lds", "listeners")):
        # a rejected update counts as well: the proxy goes on with what it could take, as Istio's agent has it
        if not numbers.get(f"{update}.update_success") and not numbers.get(f"{update}.update_rejected"):
            return f"the proxy waits for its {what} from istiod"
    if numbers.get("server.state") != _LIVE:
        return "the proxy is not live"
    if not numbers.get("listener_manager.workers_started"):
        return "the proxy's workers have not started"
    return ""
