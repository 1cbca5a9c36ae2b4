"""The kubeconfig of the CNI plugin, as JSON: readers of YAML take it, and so does Python's standard library."""

import base64
import json


def kubeconfig(server: str, ca: str, token: str) -> str:
    """`server` is a URL, `ca` the PEM of its authority (empty: the system's), `token` a bearer token."""
    authority = {"certificate-authority-data": base64.b64encode(ca.encode()).decode()} if ca else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": server, **authority}}],
        "users": [{"name": "istio-cni", "user": {"token": token}}],
        "contexts": [{"name": "istio-cni-context", "context": {"cluster": "local", "user": "istio-cni"}}],
        "current-context": "istio-cni-context",
    }
    return json.dumps(config, indent=2) + "\n"
