"""How a proxy introduces itself to istiod: the node's id and metadata, with Istio's names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PREFIX = "ISTIO_META_"
_JSON_PREFIX = "ISTIO_METAJSON_"


@dataclass(frozen=True, slots=True)
class Node:
    """One proxy. `id` is `ROLE~IP~POD.NAMESPACE~DOMAIN`."""

    id: str
    cluster: str
    metadata: Mapping[str, Any]


def node(
    environment: Mapping[str, str],
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    *,
    version: str,
    role: str = "sidecar",
) -> Node:
    """The node of a sidecar, or of a router where `role` says so, from what its pod knows.

    `environment` is what injection gave it; labels and annotations are the pod's.
    KeyError names a variable that is missing: the process does not run in an injected pod.
    """
    name, namespace, address = (environment[key] for key in ("POD_NAME", "POD_NAMESPACE", "INSTANCE_IP"))
    metadata: dict[str, Any] = {
        "NAME": name,
        "NAMESPACE": namespace,
        "INSTANCE_IPS": address,
        "SERVICE_ACCOUNT": environment.get("SERVICE_ACCOUNT", "default"),
        "LABELS": dict(labels),
        "ANNOTATIONS": dict(annotations),
        "ISTIO_VERSION": version,
        "PILOT_SAN": [environment.get("CA_ADDR", "").rpartition(":")[0]],
        "PROXY_CONFIG": json.loads(environment.get("PROXY_CONFIG") or "{}"),
    }
    metadata |= {k.removeprefix(_JSON_PREFIX): json.loads(v) for k, v in environment.items() if _is_json(k, v)}
    metadata |= {k.removeprefix(_PREFIX): v for k, v in environment.items() if k.startswith(_PREFIX)}
    application = labels.get("service.istio.io/canonical-name") or labels.get("app") or "istio-proxy"
    domain = f"{namespace}.svc.{environment.get('DOMAIN_SUFFIX', 'cluster.local')}"
    cluster = metadata["PROXY_CONFIG"].get("serviceCluster") or f"{application}.{namespace}"
    return Node(f"{role}~{address}~{name}.{namespace}~{domain}", cluster, metadata)


def downward(text: str) -> dict[str, str]:
    """A downward API file of labels or annotations: a line `key="quoted value"` for each (Kubernetes docs)."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    # Go's %q is JSON's quoting for everything that the API server admits in labels
    return {key: _unquoted(value) for key, _, value in pairs}


def _is_json(name: str, value: str) -> bool:
    if not name.startswith(_JSON_PREFIX):
        return False
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value))
    except ValueError:
        return value.strip('"')
