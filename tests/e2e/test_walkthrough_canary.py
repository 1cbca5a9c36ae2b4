"""The walkthrough's canary and fault chapters: who gets which version, and what goes wrong on purpose."""

import json
from collections import Counter
from typing import Any

import pytest
from tests.e2e.manifests import BY_USER, TOOLBOX, deployment, service, to, versions, virtual_service
from tests.support.cluster import Cluster, eventually


def page(version: str) -> dict[str, Any]:
    """An nginx that says which version it is."""
    text = f"echo {version} > /usr/share/nginx/html/index.html; exec nginx -g 'daemon off;'"
    return {"command": ["sh", "-c", text]}


@pytest.fixture(scope="module")
def canary(cluster: Cluster) -> Cluster:
    """Two versions behind one Service, and the chapter's rules."""
    cluster.injected("canary")
    both = [deployment(f"canary-{v}", "canary", "nginx:1.25.3", version=v, **page(v)) for v in ("v1", "v2")]
    cluster.apply("canary", *both, service("canary", "canary"), TOOLBOX)
    cluster.roll_out("canary", "canary-v1", "canary-v2", "toolbox")
    rules = virtual_service("canary", to("canary", "v2", **BY_USER), to("canary", "v1"))
    printed = cluster.apply("canary", rules, versions("canary", "v1", "v2"))
    assert "virtualservice.networking.istio.io/canary created" in printed
    eventually(lambda: set(ask(cluster, 10)) == {"v1"})
    return cluster


def ask(cluster: Cluster, count: int, *options: str) -> Counter[str]:
    """The first lines of that many answers."""
    script = f"for i in $(seq {count}); do curl -s -m 5 {' '.join(options)} canary | head -1; done"
    return Counter(cluster.shell("canary", "toolbox", script, seconds=120).split("\n")[:-1])


def codes(cluster: Cluster, count: int, *options: str) -> Counter[str]:
    """The status codes of that many requests, over few connections."""
    urls = " ".join(["http://canary/"] * 100)
    script = f"for i in $(seq {count // 100}); do curl -s -o /dev/null -w '%{{http_code}}\\n' {' '.join(options)}"
    sinks = "".join(" -o /dev/null" for _ in range(99))
    return Counter(cluster.shell("canary", "toolbox", f"{script}{sinks} {urls}; done", seconds=120).split())


def test_the_endpoints_name_both_pods(canary: Cluster) -> None:
    row = canary.kubectl("get", "ep", "-n", "canary", "canary", "--no-headers").split()
    assert len(row[1].split(",")) == 2
    wide = canary.kubectl("get", "svc", "-n", "canary", "-owide").splitlines()
    assert wide[0].split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"]
    assert wide[1].split()[-1] == "app=canary"


def test_the_endpoints_are_where_their_node_is(canary: Cluster) -> None:
    labels = {"topology.kubernetes.io/region": "us", "topology.kubernetes.io/zone": "west"}

    def places() -> set[str]:
        printed = canary.weft("proxy-config", "endpoint", "deploy/toolbox", "-n", "canary", "-o", "json").stdout
        clusters = {each["name"]: each for each in json.loads(printed)}
        hosts = clusters["outbound|80||canary.canary.svc.cluster.local"]["hostStatuses"]
        return {f"{each['locality'].get('region')}/{each['locality'].get('zone')}" for each in hosts}

    canary.kubectl("label", "nodes", "--all", *(f"{key}={value}" for key, value in labels.items()))
    try:
        eventually(lambda: places() == {"us/west"})
    finally:
        canary.kubectl("label", "nodes", "--all", *(f"{key}-" for key in labels))


def test_the_header_decides_about_every_request(canary: Cluster) -> None:
    assert ask(canary, 30, "-H", "'user: reader'") == {"v2": 30}
    assert ask(canary, 30, "-H", "'user: somebody'") == {"v1": 30}
    assert ask(canary, 30) == {"v1": 30}


def test_the_virtual_service_is_named_in_the_route_table(canary: Cluster) -> None:
    toolbox = canary.pod("canary", "toolbox")
    table = canary.weft("proxy-config", "route", f"{toolbox}.canary", "--name", "80").stdout
    assert any(line.endswith("canary.canary") for line in table.splitlines()), table
    clusters = canary.weft(
        "proxy-config", "cluster", f"{toolbox}.canary", "--fqdn", "canary.canary.svc.cluster.local"
    )
    subsets = {line.split()[2] for line in clusters.stdout.splitlines()[1:]}
    assert subsets == {"-", "v1", "v2"}
    assert all(line.endswith("canary.canary") for line in clusters.stdout.splitlines()[1:])


def test_weights_share_the_requests(canary: Cluster) -> None:
    shares = [{"destination": {"host": "canary", "subset": v}, "weight": w} for v, w in (("v1", 75), ("v2", 25))]
    canary.apply("canary", virtual_service("canary", {"route": shares}, version="v1"))
    eventually(lambda: "v2" in ask(canary, 20))
    split = ask(canary, 200)
    assert set(split) == {"v1", "v2"}
    assert 25 <= split["v2"] <= 78, split  # 50 expected; further than 4.5 deviations is no chance


def test_faults_hit_their_share_and_retries_take_the_other_route(canary: Cluster) -> None:
    fault = {"fault": {"abort": {"httpStatus": 500, "percentage": {"value": 80}}}}
    retries = {"retries": {"attempts": 3, "perTryTimeout": "2s"}}
    rules = virtual_service("canary", to("canary", "v2", **BY_USER, **retries), to("canary", "v1", **fault))
    canary.apply("canary", rules, versions("canary", "v1", "v2"))
    eventually(lambda: codes(canary, 100)["500"] > 50)
    seen = codes(canary, 1000)
    assert seen.total() == 1000
    assert 760 <= seen["500"] <= 840, seen
    assert seen["200"] == 1000 - seen["500"]
    assert codes(canary, 100, "-H", "'user: reader'") == {"200": 100}


def test_a_delay_holds_requests_for_its_time(canary: Cluster) -> None:
    delay = {"fault": {"delay": {"fixedDelay": "400ms", "percentage": {"value": 100}}}}
    canary.apply("canary", virtual_service("canary", to("canary", "v1", **delay)))

    def seconds() -> float:
        return float(canary.shell("canary", "toolbox", "curl -s -o /dev/null -w '%{time_total}' canary"))

    assert eventually(lambda: 0.4 <= seconds() < 2)


SLOW = """
import http.server, time
class Slow(http.server.BaseHTTPRequestHandler):
    seen = 0
    def do_GET(self):
        Slow.seen += 1
        time.sleep(1 if self.path == "/slow" else 0)
        fails = self.path == "/flaky" and Slow.seen % 3
        self.send_response(503 if fails else 200)
        self.send_header("content-length", "0")
        self.end_headers()
http.server.ThreadingHTTPServer(("", 80), Slow).serve_forever()
"""


def test_a_timeout_gives_up_and_retries_try_again(canary: Cluster) -> None:
    server = deployment("slow", "slow", "python:3.11", command=["python3", "-c", SLOW])
    canary.apply("canary", server, service("slow", "slow"))
    canary.roll_out("canary", "slow")
    code = "curl -s -o /dev/null -w '%{http_code} ' slow"
    assert canary.shell("canary", "toolbox", f"{code}/slow") == "200 "
    here = {"route": [{"destination": {"host": "slow"}}], "timeout": "300ms", "retries": {"attempts": 0}}
    canary.apply("canary", virtual_service("slow", here))
    assert eventually(lambda: canary.shell("canary", "toolbox", f"{code}/slow; {code}/").split() == ["504", "200"])
    # two of three answers are failures, so without retries some get through to the client, with two none
    flaky = "; ".join([f"{code}/flaky"] * 12)
    assert "503" in canary.shell("canary", "toolbox", flaky)
    again = here | {"timeout": "5s", "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx"}}
    canary.apply("canary", virtual_service("slow", again))
    assert eventually(lambda: set(canary.shell("canary", "toolbox", flaky).split()) == {"200"})


def test_methods_and_uris_decide_too(canary: Cluster) -> None:
    heads = {"match": [{"method": {"exact": "HEAD"}, "uri": {"prefix": "/special"}}]}
    teapot = {"fault": {"abort": {"httpStatus": 418, "percentage": {"value": 100}}}}
    canary.apply("canary", virtual_service("canary", to("canary", "v2", **heads, **teapot), to("canary", "v1")))
    code = "curl -s -o /dev/null -w '%{http_code} '"
    script = f"{code} -I canary/special/x; {code} canary/special/x; {code} -I canary/other; {code} -I canary/"
    eventually(lambda: canary.shell("canary", "toolbox", script).split() == ["418", "404", "404", "200"])
