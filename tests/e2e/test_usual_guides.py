"""What guides to Kubernetes have their readers do: it works here as anywhere."""

import base64
import itertools
import json
from pathlib import Path

import pytest
from tests.support.cluster import ROOT, Cluster, eventually, run

GUIDES = Path(__file__).parent / "guides"
HERE = "guides"


@pytest.fixture(scope="module")
def guides(cluster: Cluster) -> Cluster:
    cluster.kubectl("create", "namespace", HERE)
    return cluster


def apply(cluster: Cluster, text: str) -> None:
    cluster.kubectl("apply", "-n", HERE, "-f", "-", text=text)


def rolled_out(cluster: Cluster, *names: str) -> None:
    for name in names:
        cluster.kubectl("rollout", "status", "-n", HERE, name, "--timeout=90s", seconds=100)


def inside(cluster: Cluster, script: str) -> str:
    return cluster.shell(HERE, "inside", script, seconds=90)


@pytest.fixture(scope="module")
def data(guides: Cluster) -> Cluster:
    apply(guides, (GUIDES / "data.yaml").read_text())
    rolled_out(guides, "statefulset/store", "daemonset/agent")
    return guides


@pytest.fixture(scope="module")
def lister(guides: Cluster) -> Cluster:
    tools = str((ROOT / ".tools").resolve())
    apply(guides, (GUIDES / "inside.yaml").read_text().replace("TOOLS", tools))
    rolled_out(guides, "deployment/inside")
    return guides


def test_an_application_of_services_in_several_versions_answers_through_all_of_them(guides: Cluster) -> None:
    apply(guides, (ROOT / "examples" / "library" / "library.yaml").read_text())
    versions = {"details": ["v1"], "ratings": ["v1"], "reviews": ["v1", "v2", "v3"], "shelf": ["v1"]}
    rolled_out(guides, *(f"deployment/{app}-{one}" for app, all_ in versions.items() for one in all_))
    rolled_out(guides, "deployment/reader")
    seen: set[str] = set()

    def answered_by_all() -> bool:
        page = json.loads(guides.shell(HERE, "reader", "curl -s -m 5 http://shelf.guides.svc.cluster.local:9080/"))
        assert page["service"] == "shelf-v1"
        assert page["details"]["service"] == "details-v1"
        reviews = page["reviews"]
        assert reviews["pod"].startswith(reviews["service"])
        assert ("ratings" in reviews) == (reviews["service"] != "reviews-v1")
        seen.add(reviews["service"])
        return seen == {"reviews-v1", "reviews-v2", "reviews-v3"}

    assert eventually(answered_by_all, seconds=60)
    accounts = {pod["spec"]["serviceAccountName"] for pod in guides.objects("pods", HERE, "app=reviews")}
    assert accounts == {"library-reviews"}


def test_a_stateful_pod_finds_its_disk_and_its_name_again(data: Cluster) -> None:
    claims = data.objects("pvc", HERE)
    assert {claim["metadata"]["name"]: claim["status"]["phase"] for claim in claims} == {
        "data-store-0": "Bound",
        "data-store-1": "Bound",
    }
    before = data.objects("pods", HERE, "statefulset.kubernetes.io/pod-name=store-1")[0]["metadata"]["uid"]
    data.kubectl("exec", "-n", HERE, "store-1", "--", "sh", "-c", "echo kept > /data/note")
    data.kubectl("delete", "pod", "-n", HERE, "store-1", seconds=60)
    rolled_out(data, "statefulset/store")
    assert data.objects("pods", HERE, "statefulset.kubernetes.io/pod-name=store-1")[0]["metadata"]["uid"] != before
    read = ("exec", "-n", HERE, "store-0", "--", "wget", "-q", "-O", "-", "http://store-1.store.guides.svc/note")
    assert eventually(lambda: data.try_kubectl(*read).stdout == "kept\n")
    data.kubectl("scale", "-n", HERE, "statefulset/store", "--replicas=1")
    eventually(lambda: len(data.objects("pods", HERE, "app=store")) == 1, seconds=60)
    assert len(data.objects("pvc", HERE)) == 2, "claims stay when pods go"


def test_a_daemon_runs_on_every_node(data: Cluster) -> None:
    nodes = {node["metadata"]["name"] for node in data.objects("nodes", HERE)}
    assert {pod["spec"]["nodeName"] for pod in data.objects("pods", HERE, "app=agent")} == nodes
    said = eventually(lambda: data.kubectl("logs", "-n", HERE, "daemonset/agent"))
    assert said.split()[:2] == ["on", next(iter(nodes))]


def test_a_cron_job_may_be_run_by_hand(data: Cluster) -> None:
    data.kubectl("create", "job", "-n", HERE, "now", "--from=cronjob/report")
    data.kubectl("wait", "-n", HERE, "--for=condition=complete", "job/now", "--timeout=60s", seconds=70)
    assert data.kubectl("logs", "-n", HERE, "job/now") == "store-0\n"
    assert data.objects("jobs", HERE)[0]["metadata"]["ownerReferences"][0]["name"] == "report"


def test_a_pod_asks_the_api_server_with_its_token_and_gets_what_its_role_allows(lister: Cluster) -> None:
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    ask = (
        f'curl -s -m 10 --cacert {account}/ca.crt -H "Authorization: Bearer $(cat {account}/token)"'
        f" https://kubernetes.default.svc/api/v1/namespaces/$(cat {account}/namespace)"
    )
    pods = json.loads(inside(lister, f"{ask}/pods"))
    assert pods["kind"] == "PodList"
    assert any(pod["metadata"]["name"].startswith("inside-") for pod in pods["items"])
    refused = json.loads(inside(lister, f"{ask}/secrets"))
    assert refused["code"] == 403
    assert refused["message"] == (
        'secrets is forbidden: User "system:serviceaccount:guides:lister" cannot list resource "secrets"'
        ' in API group "" in the namespace "guides"'
    )
    followed = inside(lister, f"{ask}/pods'?watch=true&timeoutSeconds=1' | head -1")
    assert json.loads(followed)["type"] == "ADDED"


@pytest.mark.parametrize("version", ["newest", "1.32", "1.20"])
def test_kubectl_in_a_pod_needs_no_configuration(lister: Cluster, version: str) -> None:
    kubectl = f"/tools/kubectl-{version}/kubectl"
    table = inside(lister, f"{kubectl} get pods -l app=inside").splitlines()
    assert table[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert table[1].split()[1:3] == ["1/1", "Running"]
    refused = inside(lister, f"{kubectl} delete pod nobody 2>&1 || true")
    assert 'User "system:serviceaccount:guides:lister" cannot delete resource "pods"' in refused


def test_a_webhook_in_a_pod_judges_objects_of_a_kind_of_our_own(guides: Cluster, tmp_path: Path) -> None:
    key, crt = tmp_path / "tls.key", tmp_path / "tls.crt"
    name = f"guard.{HERE}.svc"
    made = run(
        *("openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt"),
        *("ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
        *("-keyout", key, "-out", crt),
    )
    assert made.returncode == 0, made.stderr
    guides.kubectl("create", "secret", "tls", "guard", "-n", HERE, f"--cert={crt}", f"--key={key}")
    bundle = base64.b64encode(crt.read_bytes()).decode()
    apply(guides, (GUIDES / "guard.yaml").read_text().replace("CA}", f"{bundle}}}"))
    rolled_out(guides, "deployment/guard")
    guides.kubectl("wait", "--for=condition=Established", "crd/kites.guides.weft.test", "--timeout=20s")

    def kite(name: str, colour: str) -> str:
        kind = {"apiVersion": "guides.weft.test/v1", "kind": "Kite"}
        return json.dumps(kind | {"metadata": {"name": name}, "spec": {"colour": colour}})

    def tried(text: str) -> str:
        return guides.try_kubectl("apply", "-n", HERE, "-f", "-", text=text).stderr

    refusal = 'admission webhook "guard.guides.weft.test" denied the request: kites have a colour'
    assert eventually(lambda: refusal in tried(kite("dull", "grey")))
    apply(guides, kite("bright", "red"))
    assert refusal in tried(kite("bright", "grey")), "a change is judged too"
    shown = guides.kubectl("get", "kt", "-n", HERE).splitlines()
    assert [line.split()[:2] for line in shown] == [["NAME", "COLOUR"], ["bright", "red"]]
    guides.kubectl("scale", "-n", HERE, "deployment/guard", "--replicas=0")
    unreachable = 'failed calling webhook "guard.guides.weft.test"'
    # each time another one: the first may still be judged, and what is there already is not asked about again
    blind = (kite(f"blind-{number}", "red") for number in itertools.count())
    assert eventually(lambda: unreachable in tried(next(blind)))
    guides.kubectl("delete", "validatingwebhookconfiguration/guides-guard", "crd/kites.guides.weft.test")
