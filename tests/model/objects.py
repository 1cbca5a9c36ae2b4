"""Objects of a cluster, as the API server gives them."""

from typing import Any

from weft.model.snapshot import Snapshot
from weft.model.store import Store

JSON = dict[str, Any]


def service(name: str, namespace: str = "shop", *ports: JSON, **spec: Any) -> JSON:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "annotations": spec.pop("annotations", None)},
        "spec": {
            "clusterIP": "10.96.0.9",
            "clusterIPs": ["10.96.0.9"],
            "selector": {"app": name},
            "ports": list(ports) or [port(80, "http")],
            **spec,
        },
    }


def port(number: int, name: str = "", target: int | str | None = None, **more: Any) -> JSON:
    return {"name": name, "port": number, "targetPort": target or number, "protocol": "TCP", **more}


def pod(name: str, address: str, namespace: str = "shop", *, app: str = "web", **labels: str) -> JSON:
    labels = {key.replace("_", "-"): value for key, value in labels.items()}
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app": app, "security.istio.io/tlsMode": "istio", "pod-template-hash": "7fc7", **labels},
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"{app}-7fc7", "controller": True}],
        },
        "spec": {
            "serviceAccountName": app,
            "nodeName": "weft",
            "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}],
        },
        "status": {"podIP": address, "phase": "Running"},
    }


def endpoint(address: str, pod_name: str = "", **conditions: bool) -> JSON:
    made: JSON = {"addresses": [address], "conditions": conditions or {"ready": True}}
    if pod_name:
        made["targetRef"] = {"kind": "Pod", "name": pod_name, "namespace": "shop"}
    return made


def endpoint_slice(
    service_name: str, *endpoints: JSON, name: str = "", namespace: str = "shop", **more: Any
) -> JSON:
    return {
        "kind": "EndpointSlice",
        "metadata": {
            "name": name or f"{service_name}-x",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": "IPv4",
        "endpoints": list(endpoints) or None,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        **more,
    }


def virtual_service(name: str, *http: JSON, namespace: str = "shop", created: str = "", **spec: Any) -> JSON:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created or None},
        "spec": {"hosts": [name], "http": list(http), **spec},
    }


def route(host: str, subset: str = "", **more: Any) -> JSON:
    return {"route": [{"destination": {"host": host, "subset": subset}}], **more}


def destination_rule(name: str, *subsets: str, namespace: str = "shop", **spec: Any) -> JSON:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "host": name,
            "subsets": [{"name": each, "labels": {"version": each}} for each in subsets],
            **spec,
        },
    }


def store_of(*objects: JSON) -> Store:
    store = Store()
    for each in objects:
        store.apply(each["kind"], each)
    return store


def snapshot_of(*objects: JSON) -> Snapshot:
    return store_of(*objects).snapshot()
