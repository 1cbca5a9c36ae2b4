"""Requests from a pod of the cluster while something happens to it."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

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
