"""What users get wrong: refused or reported with the field and the way out; everything else keeps working."""

import json
import re

import pytest
from tests.e2e.manifests import NGINX, TOOLBOX, deployment, service, to, versions, virtual_service
from tests.support.cluster import Cluster, eventually


@pytest.fixture(scope="module")
def bad(cluster: Cluster) -> Cluster:
    cluster.injected("bad")
    cluster.apply("bad", NGINX, service("nginx", "nginx"), TOOLBOX, versions("nginx", "v1"))
    cluster.roll_out("bad", "nginx-deployment", "toolbox")
    return cluster


def still_works(cluster: Cluster) -> bool:
    return cluster.shell("bad", "toolbox", "curl -s -m 5 -o /dev/null -w %{http_code} nginx") == "200"


def refused(cluster: Cluster, manifest: str, *words: str) -> str:
    done = cluster.try_kubectl("apply", "-n", "bad", *words, "-f", "-", text=manifest)
    assert done.returncode != 0, done.stdout
    return done.stderr


def test_an_unknown_field_is_refused_by_name(bad: Cluster) -> None:
    said = refused(bad, virtual_service("nginx", {"route": [{"destination": {"host": "nginx"}}], "retrys": {}}))
    assert "retrys" in said
    assert still_works(bad)


def test_a_wrong_type_is_refused_with_its_field(bad: Cluster) -> None:
    said = refused(
        bad, virtual_service("nginx", {"route": [{"destination": {"host": "nginx"}, "weight": "many"}]})
    )
    assert "spec.http[0].route[0].weight" in said


def test_an_impossible_value_is_refused_with_the_way_out(bad: Cluster) -> None:
    fault = {"fault": {"abort": {"httpStatus": 99, "percentage": {"value": 100}}}}
    said = refused(bad, virtual_service("nginx", to("nginx", "v1", **fault)))
    assert "spec.http[0].fault.abort.httpStatus" in said


def test_an_unknown_host_is_warned_of_and_answers_503(bad: Cluster) -> None:
    done = bad.try_kubectl(
        "apply",
        "-n",
        "bad",
        "-f",
        "-",
        text=virtual_service("nginx", {"route": [{"destination": {"host": "nobody"}}]}),
    )
    assert done.returncode == 0
    assert 'host not found "nobody' in done.stderr
    code = "curl -s -m 5 -o /dev/null -w %{http_code} nginx"
    eventually(lambda: bad.shell("bad", "toolbox", code) == "503")
    # whoever did not see the warning finds it at the object
    describe = ("describe", "virtualservice", "-n", "bad", "nginx")
    eventually(lambda: re.search(r"Warning +IST0101 .*host not found \"nobody\"", bad.kubectl(*describe)))
    bad.kubectl("delete", "virtualservice", "-n", "bad", "nginx")
    assert eventually(lambda: still_works(bad))


def test_a_missing_subset_is_warned_of(bad: Cluster) -> None:
    done = bad.try_kubectl("apply", "-n", "bad", "-f", "-", text=virtual_service("nginx", to("nginx", "v9")))
    assert done.returncode == 0
    assert 'spec.http[0].route[0].destination.subset: subset not found "v9"' in done.stderr
    bad.kubectl("delete", "virtualservice", "-n", "bad", "nginx")


def test_weights_that_do_not_sum_to_100_are_told(bad: Cluster) -> None:
    shares = [{"destination": {"host": "nginx"}, "weight": weight} for weight in (30, 30)]
    done = bad.try_kubectl("apply", "-n", "bad", "-f", "-", text=virtual_service("nginx", {"route": shares}))
    assert re.search(r"Warning: spec\.http\[0\]\.route\S*: .*\b60\b", done.stderr), done.stderr
    bad.kubectl("delete", "virtualservice", "-n", "bad", "nginx", "--ignore-not-found")
    assert eventually(lambda: still_works(bad))


def test_broken_yaml_is_refused_by_line(bad: Cluster) -> None:
    said = refused(bad, "kind: Pod\n  name: [")
    assert "line" in said


def test_a_manifest_without_a_version_is_refused(bad: Cluster) -> None:
    manifest = json.loads(TOOLBOX)
    del manifest["apiVersion"]
    assert "apiVersion not set" in refused(bad, json.dumps(manifest))


def test_an_image_that_does_not_exist_is_told_in_the_pods_status_and_events(bad: Cluster) -> None:
    bad.apply("bad", deployment("ghost", "ghost", "registry.invalid/ghost:1"))
    name = eventually(lambda: bad.pod("bad", "ghost"))
    eventually(lambda: "ImagePullBackOff" in bad.kubectl("get", "pod", "-n", "bad", name), seconds=60)
    described = bad.kubectl("describe", "pod", "-n", "bad", name)
    assert 'Failed to pull image "registry.invalid/ghost:1"' in described
    bad.kubectl("delete", "deployment", "-n", "bad", "ghost")


def test_a_container_that_crashes_backs_off_and_keeps_its_log(bad: Cluster) -> None:
    crash = deployment("crash", "crash", "busybox:1.36", command=["sh", "-c", "echo it broke; exit 3"])
    bad.apply("bad", crash)
    name = eventually(lambda: bad.pod("bad", "crash"))
    eventually(lambda: "CrashLoopBackOff" in bad.kubectl("get", "pod", "-n", "bad", name), seconds=60)
    described = bad.kubectl("describe", "pod", "-n", "bad", name)
    assert "Exit Code:    3" in described
    assert "Back-off restarting failed container" in described
    assert bad.kubectl("logs", "-n", "bad", name, "-c", "crash", "--previous").strip() == "it broke"
    bad.kubectl("delete", "deployment", "-n", "bad", "crash")


def test_a_port_that_is_taken_is_told_by_the_container_that_wanted_it(bad: Cluster) -> None:
    listen = "import socket; s = socket.create_server(('', 9999)); s.accept()"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "taken", "labels": {"sidecar.istio.io/inject": "false"}},
        "spec": {
            "containers": [
                {"name": name, "image": "busybox:1.36", "command": ["python3", "-c", listen]}
                for name in ("one", "two")
            ]
        },
    }
    bad.apply("bad", json.dumps(pod))

    def told() -> bool:
        logs = [
            bad.try_kubectl("logs", "-n", "bad", "taken", "-c", name, "--previous").stdout
            for name in ("one", "two")
        ]
        return any("Address already in use" in log for log in logs)

    assert eventually(told, seconds=40)
    bad.kubectl("delete", "pod", "-n", "bad", "taken", "--grace-period=0", "--force")
    assert eventually(lambda: still_works(bad))
