"""The workload behind a pod, and the names that telemetry and routing know it by."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CRON_JOB = re.compile(r"(.+)-\d{8,10}")


@dataclass(frozen=True, slots=True)
class Workload:
    """The object a user wrote: a Deployment behind its ReplicaSet, a CronJob behind its Job, else the owner."""

    name: str
    kind: str
    api_version: str

    def owner(self, namespace: str) -> str:
        """Istio's spelling of it: `kubernetes://apis/apps/v1/namespaces/NS/deployments/NAME`."""
        return f"kubernetes://apis/{self.api_version}/namespaces/{namespace}/{self.kind.lower()}s/{self.name}"


def of_pod(metadata: Mapping[str, Any]) -> Workload:
    """The workload of a pod, by its controller's reference, else by its own name."""
    controller = next((ref for ref in metadata.get("ownerReferences") or () if ref.get("controller")), None)
    if controller is None:
        name = metadata.get("name") or str(metadata.get("generateName", "")).rstrip("-")
        return Workload(name, "Pod", "v1")
    name, kind = str(controller["name"]), str(controller["kind"])
    suffix = f"-{(metadata.get('labels') or {}).get('pod-template-hash', '')}"
    if kind == "ReplicaSet" and suffix != "-" and name.endswith(suffix):
        return Workload(name.removesuffix(suffix), "Deployment", str(controller["apiVersion"]))
    if kind == "Job" and (scheduled := _CRON_JOB.fullmatch(name)):
        return Workload(scheduled[1], "CronJob", str(controller["apiVersion"]))
    return Workload(name, kind, str(controller["apiVersion"]))


def canonical_labels(labels: Mapping[str, str], workload: Workload) -> dict[str, str]:
    """The labels an injected pod gets, where it does not have them."""
    name = _first(labels, "service.istio.io/canonical-name", "app.kubernetes.io/name", "app") or workload.name
    revision = _first(labels, "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
    return {
        "security.istio.io/tlsMode": labels.get("security.istio.io/tlsMode") or "istio",
        "service.istio.io/canonical-name": name,
        "service.istio.io/canonical-revision": revision or "latest",
    }


def _first(labels: Mapping[str, str], *keys: str) -> str:
    return next((labels[key] for key in keys if labels.get(key)), "")
