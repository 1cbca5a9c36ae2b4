"""Whatever happens to the mesh's parts, a client that sends 50 requests a second gets its answers."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.manifests import NGINX, TOOLBOX, service, versions, virtual_service
from tests.support.cluster import KUBECTLS, Cluster, eventually

CODE = "curl -s -o /dev/null -w %{http_code} nginx"
LOAD = (Path(__file__).parent / "load.py").read_text()


class Load:
    """A client at work in the toolbox pod; `result` waits for its end."""

    def __init__(self, cluster: Cluster, url: str, seconds: float) -> None:
        command = ["nsenter", f"--net=/run/netns/{cluster.namespace}", str(KUBECTLS["newest"])]
        command += [
            "--kubeconfig",
            str(cluster.home / "kubeconfig"),
            "exec",
            "-i",
            "-n",
            "steady",
            "deploy/toolbox",
        ]
        self._seconds = seconds
        self._spans: list[tuple[float, float]] = []
        self._process = subprocess.Popen(
            [*command, "--", "python3", "-", url, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
        )
        assert self._process.stdin
        self._process.stdin.write(LOAD)
        self._process.stdin.close()
        self._process.stdin = None
        time.sleep(1)

    def result(self) -> Counter[str]:
        """How often there was each kind of answer."""
        out, _ = self._process.communicate(timeout=self._seconds + 60)
        found = json.loads(out)
        self._spans = found["spans"]
        return Counter(found["seen"])

    def underway(self, begin: float, end: float) -> int:
        """How many requests were on their way at some time between the two, in seconds since the epoch."""
        return sum(sent <= end and done >= begin for sent, done in self._spans)


@pytest.fixture(scope="module")
def steady(cluster: Cluster) -> Iterator[Cluster]:
    cluster.injected("steady")
    cluster.apply("steady", NGINX, service("nginx", "nginx"), TOOLBOX)
    cluster.roll_out("steady", "nginx-deployment", "toolbox")
    yield cluster
    cluster.kubectl("delete", "ns", "steady", "--wait=false")


def all_answered(seen: Counter[str], seconds: float) -> bool:
    assert seen == {"200": int(50 * seconds)}
    return True


def test_rules_that_come_and_go_lose_nothing(steady: Cluster) -> None:
    load = Load(steady, "http://nginx/", 8)
    rules = (virtual_service("nginx", {"route": [{"destination": {"host": "nginx"}}]}), versions("nginx", "v1"))
    for _ in range(5):
        steady.apply("steady", *rules)
        time.sleep(0.3)
        steady.kubectl("delete", "-n", "steady", "virtualservice/nginx", "destinationrule/nginx")
    assert all_answered(load.result(), 8)


def test_scaling_up_and_down_loses_nothing(steady: Cluster) -> None:
    load = Load(steady, "http://nginx/", 30)
    steady.kubectl("scale", "-n", "steady", "deployment/nginx-deployment", "--replicas=5")
    steady.roll_out("steady", "nginx-deployment")
    steady.kubectl("scale", "-n", "steady", "deployment/nginx-deployment", "--replicas=1")
    assert all_answered(load.result(), 30)
    eventually(lambda: len(steady.objects("pods", "steady", "app=nginx")) == 1, seconds=60)


def test_killing_istiod_loses_nothing_and_it_comes_back(steady: Cluster) -> None:
    load = Load(steady, "http://nginx/", 15)
    before = steady.pod("istio-system", "istiod")
    steady.kubectl("delete", "pod", "-n", "istio-system", before, "--grace-period=0", "--force", "--wait=false")
    eventually(lambda: before != steady.pod("istio-system", "istiod"))
    steady.roll_out("istio-system", "istiod")
    assert all_answered(load.result(), 15)
    # and the new one is obeyed
    gone = {"fault": {"abort": {"httpStatus": 410, "percentage": {"value": 100}}}}
    steady.apply("steady", virtual_service("nginx", {"route": [{"destination": {"host": "nginx"}}]} | gone))
    eventually(lambda: steady.shell("steady", "toolbox", CODE) == "410")
    steady.kubectl("delete", "-n", "steady", "virtualservice/nginx")
    eventually(lambda: steady.shell("steady", "toolbox", CODE) == "200")


# tells when it kills Envoy and when Envoy is gone: until then the kernel takes requests for it
KILL = """
envoy=$(pgrep -x envoy)
date +%s.%N
kill -9 "$envoy"
while [ -e "/proc/$envoy" ]; do sleep 0.01; done
date +%s.%N
"""
NOTICING = 0.1
"""Seconds until the other Envoy has read that a connection ended; it may send on it before."""


def test_killing_the_envoys_of_both_sides_loses_at_most_what_they_held(steady: Cluster) -> None:
    load = Load(steady, "http://nginx/", 10)
    pods = [steady.pod("steady", "toolbox"), steady.pod("steady", "nginx")]
    deaths = []
    for pod in pods:
        said = steady.kubectl("exec", "-n", "steady", pod, "-c", "istio-proxy", "--", "sh", "-c", KILL)
        begin, end = map(float, said.split())
        deaths.append((begin, end + NOTICING))
        eventually(lambda: steady.shell("steady", "toolbox", CODE) == "200")
    seen = load.result()
    held = [load.underway(*death) for death in deaths]
    print(dict(seen), held, deaths)
    assert seen.total() == 500
    assert not any("refused" in kind for kind in seen), seen
    assert seen.total() - seen["200"] <= sum(held), (seen, held, deaths)
    for pod in pods:
        assert "2/2" in steady.kubectl("get", "pod", "-n", "steady", pod)
