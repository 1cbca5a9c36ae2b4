"""Manifests as a reader of the walkthrough types them."""

import json
from typing import Any

PORT = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}


def deployment(name: str, app: str, image: str, *, version: str = "", replicas: int = 1, **container: Any) -> str:
    labels = {"app": app} | ({"version": version} if version else {})
    spec = {"containers": [{"name": app, "image": image} | container]}
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
    )


def service(name: str, app: str) -> str:
    spec = {"ports": [PORT], "selector": {"app": app}}
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})


TOOLBOX = deployment("toolbox", "toolbox", "centos:7.9.2009", command=["tail", "-f", "/dev/null"])
NGINX = deployment("nginx-deployment", "nginx", "nginx:1.25.3")


def virtual_service(host: str, *routes: dict[str, Any], version: str = "v1beta1") -> str:
    return json.dumps(
        {
            "apiVersion": f"networking.istio.io/{version}",
            "kind": "VirtualService",
            "metadata": {"name": host},
            "spec": {"hosts": [host], "http": list(routes)},
        }
    )


def to(host: str, subset: str, **route: Any) -> dict[str, Any]:
    return {"route": [{"destination": {"host": host, "subset": subset}}]} | route


def versions(host: str, *names: str) -> str:
    """A DestinationRule with a subset for each version, the second with a load balancer of its own."""
    subsets: list[dict[str, Any]] = [{"name": name, "labels": {"version": name}} for name in names]
    subsets[-1]["trafficPolicy"] = {"loadBalancer": {"simple": "ROUND_ROBIN"}}
    spec = {"host": host, "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}, "subsets": subsets}
    return json.dumps(
        {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "DestinationRule",
            "metadata": {"name": host},
            "spec": spec,
        }
    )


BY_USER = {"match": [{"headers": {"user": {"exact": "reader"}}}]}
