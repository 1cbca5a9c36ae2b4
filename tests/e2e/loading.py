"""Requests from a pod of the cluster while something happens to it."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.cluster import KUBECTLS, Cluster

PROGRAM = (Path(__file__).parent / "churn_load.py").read_text()


def begun(
    cluster: Cluster, namespace: str, rate: int, seconds: float, targets: Iterable[str], until: str = ""
) -> subprocess.Popen[str]:
    """`rate` requests a second from the toolbox, for so long or until the file `until` is there."""
    command = ["nsenter", f"--net=/run/netns/{cluster.namespace}", str(KUBECTLS["newest"])]
    command += ["--kubeconfig", str(cluster.home / "kubeconfig"), "exec", "-i", "-n", namespace, "deploy/toolbox"]
    command += ["--", "env", f"UNTIL={until}", "python3", "-", str(rate), str(seconds), *targets]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
    )
    assert process.stdin
    process.stdin.write(PROGRAM)
    process.stdin.close()
    process.stdin = None
    return process


def result(requests: subprocess.Popen[str]) -> tuple[float, dict[str, Any]]:
    """When the requests began, in seconds since the epoch, and what became of them."""
    out, _ = requests.communicate(timeout=60)
    first, last = out.strip().splitlines()
    return json.loads(first)["began"], json.loads(last)


def trouble(cluster: Cluster, found: dict[str, Any], deaths_in: Iterable[str]) -> str:
    """What failed, for the end of a message: reports are cut in the middle. Proxies that died are told of, too."""
    lines = [f"{each['sent']:.3f}s after {each['took']:.3f}s {each['what']}" for each in found["failures"]]
    for namespace in deaths_in:
        for pod in cluster.objects("pods", namespace):
            name = pod["metadata"]["name"]
            said = cluster.try_kubectl("logs", "-n", namespace, name, "-c", "istio-proxy").stdout.splitlines()
            lines += [f"{name}: {line}" for line in said if "weft.agent.envoy" in line or "critical" in line]
    return "\n".join([*lines, f"{found['stale']} kept connections had been closed", json.dumps(found["seen"])])
