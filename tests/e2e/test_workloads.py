"""Controllers with real pods: what they count, keep and refuse while pods come and go."""

import json
from typing import Any

import pytest
import yaml
from tests.support.cluster import Cluster, eventually

HERE = "workloads"


def manifest(kind: str, api: str, name: str, **spec: Any) -> str:
    return yaml.safe_dump({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec})


def template(script: str, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "busybox", "command": ["sh", "-c", script]}
    inner = {"containers": [container], "terminationGracePeriodSeconds": 1} | spec
    return {"metadata": {"labels": labels or {}}, "spec": inner}


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Cluster:
    cluster.kubectl("create", "ns", HERE)
    return cluster


def status(cluster: Cluster, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.kubectl("get", kind, name, "-n", HERE, "-o", "json"))
    return dict(found.get("status") or {})


def test_a_job_counts_its_pods_though_somebody_deletes_them_all_the_time(here: Cluster) -> None:
    once = template("true", restartPolicy="Never")
    here.apply(HERE, manifest("Job", "batch/v1", "counted", completions=5, parallelism=2, template=once))

    def done() -> bool:
        here.kubectl(
            "delete", "pod", "-n", HERE, "-l", "job-name=counted", "--field-selector", "status.phase=Succeeded"
        )
        return bool(status(here, "job", "counted").get("completionTime"))

    assert eventually(done, seconds=60)
    here.kubectl("delete", "pod", "-n", HERE, "-l", "job-name=counted")
    found = status(here, "job", "counted")
    assert (found["succeeded"], found["uncountedTerminatedPods"]) == (5, {})
    assert not here.objects("pods", HERE, "job-name=counted")


def test_an_indexed_job_tries_each_index_by_itself_and_names_those_that_failed(here: Cluster) -> None:
    script = template("test $JOB_COMPLETION_INDEX != 1", restartPolicy="Never")
    spec = {"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 0}
    here.apply(HERE, manifest("Job", "batch/v1", "numbered", template=script, **spec))
    here.kubectl("wait", "-n", HERE, "job/numbered", "--for=condition=Failed", "--timeout=60s", seconds=70)
    found = status(here, "job", "numbered")
    assert (found["completedIndexes"], found["failedIndexes"]) == ("0,2", "1")
    hosts = {pod["spec"]["hostname"] for pod in here.objects("pods", HERE, "job-name=numbered")}
    assert hosts == {"numbered-0", "numbered-1", "numbered-2"}


def test_a_budget_says_what_may_go_and_an_eviction_too_many_is_refused(here: Cluster) -> None:
    labels = {"app": "kept"}
    selector = {"matchLabels": labels}
    here.apply(
        HERE,
        manifest("PodDisruptionBudget", "policy/v1", "kept", minAvailable="100%", selector=selector),
        manifest(
            "Deployment", "apps/v1", "kept", replicas=2, selector=selector, template=template("sleep 999", labels)
        ),
    )
    here.roll_out(HERE, "kept")
    assert eventually(lambda: status(here, "pdb", "kept").get("currentHealthy") == 2)
    found = status(here, "pdb", "kept")
    assert (found["desiredHealthy"], found["disruptionsAllowed"], found["expectedPods"]) == (2, 0, 2)
    pod = here.objects("pods", HERE, "app=kept")[0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": HERE}}
    path = f"/api/v1/namespaces/{HERE}/pods/{pod}/eviction"
    refused = here.try_kubectl("create", "--raw", path, "-f", "-", text=json.dumps(eviction))
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.stderr
    here.kubectl("patch", "pdb", "kept", "-n", HERE, "--type=merge", "-p", '{"spec":{"minAvailable":"50%"}}')
    assert eventually(lambda: status(here, "pdb", "kept")["disruptionsAllowed"] == 1)
    here.kubectl("create", "--raw", path, "-f", "-", text=json.dumps(eviction))


def test_a_stateful_set_rolls_several_at_once_and_takes_the_claims_of_pods_that_go(here: Cluster) -> None:
    labels = {"app": "db"}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    spec: dict[str, Any] = {
        "replicas": 3,
        "serviceName": "db",
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 3}},
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"},
        "selector": {"matchLabels": labels},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }
    here.apply(HERE, manifest("StatefulSet", "apps/v1", "db", template=template("sleep 998", labels), **spec))
    wait = ("rollout", "status", "-n", HERE, "statefulset/db", "--timeout=90s")
    here.kubectl(*wait, seconds=100)
    here.apply(HERE, manifest("StatefulSet", "apps/v1", "db", template=template("sleep 999", labels), **spec))
    here.kubectl(*wait, seconds=100)
    here.kubectl("scale", "statefulset", "db", "-n", HERE, "--replicas=1")
    assert eventually(lambda: [each["metadata"]["name"] for each in here.objects("pvc", HERE)] == ["data-db-0"])


def test_repeated_trouble_is_one_event_with_a_count(here: Cluster) -> None:
    job = {"spec": {"template": template("sleep 3", restartPolicy="Never")}}
    here.apply(HERE, manifest("CronJob", "batch/v1", "yearly", schedule="0 0 1 1 *", jobTemplate=job))
    here.kubectl("create", "job", "-n", HERE, "by-hand", "--from=cronjob/yearly")

    def counts() -> list[int]:
        events = here.objects("events", HERE)
        return [int(event["count"]) for event in events if event["reason"] == "UnexpectedJob"]

    assert eventually(lambda: len(counts()) == 1 and counts()[0] > 1, seconds=60)
