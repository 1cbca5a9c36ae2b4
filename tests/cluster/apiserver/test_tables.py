"""The cells of each kind, and ages."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.cluster.apiserver.catalog import BUILT_IN
from weft.cluster.apiserver.subresources import SCALE
from weft.cluster.apiserver.tables import human_duration, table
from weft.cluster.apiserver.tables.registry import COLUMNS

NOW = datetime(2022, 1, 3, 15, 0, 0, tzinfo=UTC)
KINDS = {(kind.group, kind.kind): kind for kind in (*BUILT_IN, SCALE)}


def ago(**delta: float) -> str:
    return (NOW - timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def named(name: str, created: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": created or ago(minutes=3), **fields.pop("metadata", {})},
        **fields,
    }


def cells(kind: str, obj: dict[str, Any], group: str = "", **options: Any) -> dict[str, Any]:
    """The one row of an object, by column."""
    found = table(KINDS[group, kind], [obj], NOW, **options)
    return dict(zip([c["name"] for c in found["columnDefinitions"]], found["rows"][0]["cells"], strict=True))


# --- ages ---


@pytest.mark.parametrize(
    ("delta", "shown"),
    [
        (timedelta(seconds=-5), "<invalid>"),
        (timedelta(seconds=-1), "0s"),
        (timedelta(seconds=0), "0s"),
        (timedelta(seconds=36), "36s"),
        (timedelta(seconds=105), "105s"),
        (timedelta(seconds=120), "2m"),
        (timedelta(minutes=2, seconds=9), "2m9s"),
        (timedelta(minutes=4, seconds=57), "4m57s"),
        (timedelta(minutes=12, seconds=30), "12m"),
        (timedelta(minutes=115), "115m"),
        (timedelta(minutes=180), "3h"),
        (timedelta(hours=7, minutes=59), "7h59m"),
        (timedelta(hours=8, minutes=59), "8h"),
        (timedelta(hours=47), "47h"),
        (timedelta(days=5, hours=8), "5d8h"),
        (timedelta(days=6, hours=14, minutes=3), "6d14h"),
        (timedelta(days=7), "7d"),
        (timedelta(days=8, hours=5), "8d"),
        (timedelta(days=729), "729d"),
        (timedelta(days=730), "2y"),
        (timedelta(days=1000), "2y270d"),
        (timedelta(days=365 * 8 + 20), "8y"),
    ],
)
def test_an_age_has_two_figures_at_most(delta: timedelta, shown: str) -> None:
    assert human_duration(delta) == shown


# --- pods ---


def pod(*statuses: dict[str, Any], **status: Any) -> dict[str, Any]:
    containers = [{"name": f"c{index}"} for index in range(len(statuses))]
    return named(
        "p",
        spec={"containers": containers},
        status={"phase": "Running", "containerStatuses": list(statuses), **status},
    )


def running(**fields: Any) -> dict[str, Any]:
    return {"name": "c0", "ready": True, "restartCount": 0, "state": {"running": {}}, **fields}


def waiting(reason: str) -> dict[str, Any]:
    return running(ready=False, state={"waiting": {"reason": reason}})


def ended(**terminated: Any) -> dict[str, Any]:
    return running(ready=False, state={"terminated": terminated})


INITIALIZING = [{"name": "istio-init"}, {"name": "second"}]


@pytest.mark.parametrize(
    ("obj", "ready", "status"),
    [
        (pod(running(), running()), "2/2", "Running"),
        (pod(running(), running(ready=False)), "1/2", "Running"),
        (pod(phase="Pending"), "0/0", "Pending"),
        (pod(waiting("ContainerCreating"), phase="Pending"), "0/1", "ContainerCreating"),
        (pod(waiting("PodInitializing"), phase="Pending"), "0/1", "PodInitializing"),
        (pod(waiting("CrashLoopBackOff"), running()), "1/2", "CrashLoopBackOff"),
        (pod(waiting("ImagePullBackOff"), phase="Pending"), "0/1", "ImagePullBackOff"),
        (pod(ended(exitCode=0, reason="Completed"), phase="Succeeded"), "0/1", "Completed"),
        (pod(ended(exitCode=1, reason="Error"), phase="Failed"), "0/1", "Error"),
        (pod(ended(exitCode=137), phase="Failed"), "0/1", "ExitCode:137"),
        (pod(ended(signal=9), phase="Failed"), "0/1", "Signal:9"),
        (pod(ended(exitCode=0, reason="Completed"), running()), "1/2", "NotReady"),
        (
            pod(
                ended(exitCode=0, reason="Completed"), running(), conditions=[{"type": "Ready", "status": "True"}]
            ),
            "1/2",
            "Running",
        ),
        (pod(phase="Failed", reason="Evicted"), "0/0", "Evicted"),
        (
            pod(phase="Pending", conditions=[{"type": "PodScheduled", "reason": "SchedulingGated"}]),
            "0/0",
            "SchedulingGated",
        ),
    ],
)
def test_a_pods_status_is_what_its_containers_say(obj: dict[str, Any], ready: str, status: str) -> None:
    shown = cells("Pod", obj)
    assert (shown["Ready"], shown["Status"]) == (ready, status)


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([{"running": {}}, {"waiting": {"reason": "PodInitializing"}}], "Init:0/2"),
        ([{"terminated": {"exitCode": 0}}, {"waiting": {"reason": "PodInitializing"}}], "Init:1/2"),
        ([{"waiting": {"reason": "CrashLoopBackOff"}}], "Init:CrashLoopBackOff"),
        ([{"terminated": {"exitCode": 3}}], "Init:ExitCode:3"),
        ([{"terminated": {"exitCode": 1, "reason": "Error"}}], "Init:Error"),
        ([{"terminated": {"exitCode": 0}}, {"terminated": {"exitCode": 0}}], "PodInitializing"),
    ],
)
def test_an_initialising_pod_tells_how_far_it_is(states: list[dict[str, Any]], status: str) -> None:
    obj = pod(waiting("PodInitializing"), phase="Pending")
    obj["spec"]["initContainers"] = INITIALIZING
    obj["status"]["initContainerStatuses"] = [
        {"name": one["name"], "restartCount": 0, "state": state}
        for one, state in zip(INITIALIZING, states, strict=False)
    ]
    assert cells("Pod", obj)["Status"] == status


def test_a_sidecar_that_started_counts_as_a_container() -> None:
    obj = pod(running())
    obj["spec"]["initContainers"] = [{"name": "proxy", "restartPolicy": "Always"}]
    obj["status"]["initContainerStatuses"] = [running(name="proxy", started=True, restartCount=2)]
    shown = cells("Pod", obj)
    assert (shown["Ready"], shown["Status"], shown["Restarts"]) == ("2/2", "Running", "2")


def test_restarts_tell_when_the_last_one_was() -> None:
    last = {"terminated": {"finishedAt": ago(seconds=5)}}
    older = {"terminated": {"finishedAt": ago(hours=5)}}
    obj = pod(running(restartCount=2, lastState=last), running(restartCount=1, lastState=older))
    assert cells("Pod", obj)["Restarts"] == "3 (5s ago)"


def test_a_pod_being_deleted_terminates_until_it_is_over() -> None:
    obj = pod(running())
    obj["metadata"]["deletionTimestamp"] = ago(seconds=1)
    assert cells("Pod", obj)["Status"] == "Terminating"
    obj["status"]["reason"] = "NodeLost"
    assert cells("Pod", obj)["Status"] == "Unknown"
    done = pod(ended(exitCode=0, reason="Completed"), phase="Succeeded")
    done["metadata"]["deletionTimestamp"] = ago(seconds=1)
    assert cells("Pod", done)["Status"] == "Completed"


def test_readiness_gates_are_counted() -> None:
    obj = pod(running(), conditions=[{"type": "a", "status": "True"}, {"type": "b", "status": "False"}])
    obj["spec"]["readinessGates"] = [{"conditionType": "a"}, {"conditionType": "b"}]
    assert cells("Pod", obj)["Readiness Gates"] == "1/2"


# --- other kinds ---

CONTAINERS = {"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:2"}]}}


@pytest.mark.parametrize(
    ("kind", "obj", "wanted"),
    [
        (
            "/Service",
            named(
                "istio-ingressgateway",
                spec={
                    "type": "LoadBalancer",
                    "clusterIP": "10.108.4.104",
                    "ports": [{"port": 80, "nodePort": 30634}, {"port": 53, "protocol": "UDP"}],
                    "selector": {"b": "2", "a": "1"},
                },
            ),
            {
                "Type": "LoadBalancer",
                "External-IP": "<pending>",
                "Port(s)": "80:30634/TCP,53/UDP",
                "Selector": "a=1,b=2",
            },
        ),
        (
            "/Service",
            named("far", spec={"type": "ExternalName", "externalName": "example.org"}),
            {"Cluster-IP": "<none>", "External-IP": "example.org", "Port(s)": "<none>", "Selector": "<none>"},
        ),
        (
            "/Endpoints",
            named(
                "canary",
                subsets=[{"addresses": [{"ip": f"10.244.0.{n}"} for n in range(6, 11)], "ports": [{"port": 80}]}],
            ),
            {"Endpoints": "10.244.0.6:80,10.244.0.7:80,10.244.0.8:80 + 2 more..."},
        ),
        ("/Endpoints", named("none"), {"Endpoints": "<none>"}),
        (
            "discovery.k8s.io/EndpointSlice",
            named("s", addressType="IPv4", ports=[{"port": 80}], endpoints=[{"addresses": ["10.0.0.1"]}]),
            {"AddressType": "IPv4", "Ports": "80", "Endpoints": "10.0.0.1"},
        ),
        (
            "apps/Deployment",
            named(
                "d",
                spec={"replicas": 2, "template": CONTAINERS, "selector": {"matchLabels": {"app": "d"}}},
                status={"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1},
            ),
            {
                "Ready": "1/2",
                "Up-to-date": 2,
                "Available": 1,
                "Containers": "a,b",
                "Images": "x:1,y:2",
                "Selector": "app=d",
            },
        ),
        (
            "apps/ReplicaSet",
            named(
                "r",
                spec={
                    "replicas": 0,
                    "selector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["2", "1"]}]},
                },
            ),
            {"Desired": 0, "Current": 0, "Ready": 0, "Selector": "a in (1,2)"},
        ),
        ("apps/StatefulSet", named("s", spec={"replicas": 3}, status={"readyReplicas": 2}), {"Ready": "2/3"}),
        (
            "apps/DaemonSet",
            named("d", status={"desiredNumberScheduled": 3, "numberReady": 2}),
            {"Desired": 3, "Ready": 2, "Node Selector": "<none>"},
        ),
        (
            "batch/Job",
            named(
                "j",
                spec={"completions": 1},
                status={
                    "succeeded": 1,
                    "startTime": ago(seconds=65),
                    "completionTime": ago(seconds=60),
                    "conditions": [{"type": "Complete", "status": "True"}],
                },
            ),
            {"Status": "Complete", "Completions": "1/1", "Duration": "5s"},
        ),
        (
            "batch/CronJob",
            named(
                "c", spec={"schedule": "* * * * *"}, status={"active": [{}], "lastScheduleTime": ago(seconds=30)}
            ),
            {
                "Schedule": "* * * * *",
                "Timezone": "<none>",
                "Suspend": "False",
                "Active": 1,
                "Last Schedule": "30s",
            },
        ),
        (
            "/Node",
            named(
                "weft",
                metadata={"labels": {"node-role.kubernetes.io/control-plane": ""}},
                spec={"unschedulable": True},
                status={
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "192.168.49.2"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian"},
                },
            ),
            {
                "Status": "Ready,SchedulingDisabled",
                "Roles": "control-plane",
                "Version": "v1.36.0",
                "Internal-IP": "192.168.49.2",
                "External-IP": "<none>",
                "OS-Image": "Debian",
                "Kernel-Version": "<unknown>",
            },
        ),
        ("/Namespace", named("n", status={"phase": "Active"}), {"Status": "Active", "Age": "3m"}),
        ("/ConfigMap", named("c", data={"a": ""}, binaryData={"b": ""}), {"Data": 2}),
        ("/Secret", named("s", type="Opaque", data={"a": ""}), {"Type": "Opaque", "Data": 1}),
        (
            "/Event",
            named(
                "e",
                involvedObject={"kind": "Pod", "name": "p"},
                reason="Pulled",
                message=" done \n",
                lastTimestamp=ago(seconds=9),
                firstTimestamp=ago(minutes=5),
                count=3,
                source={"component": "kubelet", "host": "weft"},
            ),
            {
                "Last Seen": "9s",
                "Object": "pod/p",
                "Message": "done",
                "First Seen": "5m",
                "Count": 3,
                "Source": "kubelet, weft",
            },
        ),
        (
            "events.k8s.io/Event",
            named("e", regarding={"kind": "Pod", "name": "p"}, note="done", eventTime=ago(seconds=9)),
            {"Last Seen": "9s", "Object": "pod/p", "Message": "done", "Count": 1},
        ),
        (
            "admissionregistration.k8s.io/MutatingWebhookConfiguration",
            named("istio-sidecar-injector", ago(days=5, hours=8), webhooks=[{}, {}, {}, {}]),
            {"Webhooks": 4, "Age": "5d8h"},
        ),
        (
            "apiextensions.k8s.io/CustomResourceDefinition",
            named("sidecars.networking.istio.io", "2022-12-27T02:58:37Z"),
            {"Name": "sidecars.networking.istio.io", "Created At": "2022-12-27T02:58:37Z"},
        ),
        (
            "rbac.authorization.k8s.io/RoleBinding",
            named(
                "b",
                roleRef={"kind": "Role", "name": "r"},
                subjects=[
                    {"kind": "User", "name": "jane"},
                    {"kind": "ServiceAccount", "name": "x", "namespace": "d"},
                ],
            ),
            {"Role": "Role/r", "Users": "jane", "Groups": "", "ServiceAccounts": "d/x"},
        ),
        (
            "networking.k8s.io/Ingress",
            named("i", spec={"rules": [{"host": "a"}, {"host": "b"}], "tls": [{}]}),
            {"Class": "<none>", "Hosts": "a,b", "Address": "", "Ports": "80, 443"},
        ),
        (
            "/PersistentVolumeClaim",
            named(
                "c", status={"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
            ),
            {"Status": "Bound", "Capacity": "1Gi", "Access Modes": "RWO"},
        ),
        (
            "storage.k8s.io/StorageClass",
            named("s", metadata={"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}),
            {"Name": "s (default)", "ReclaimPolicy": "Delete", "AllowVolumeExpansion": False},
        ),
        ("coordination.k8s.io/Lease", named("l", spec={"holderIdentity": "weft"}), {"Holder": "weft"}),
        (
            "certificates.k8s.io/CertificateSigningRequest",
            named(
                "r",
                spec={"expirationSeconds": 86400},
                status={"conditions": [{"type": "Approved"}], "certificate": "x"},
            ),
            {"RequestedDuration": "24h", "Condition": "Approved,Issued"},
        ),
    ],
)
def test_a_kinds_cells_are_kubectls(kind: str, obj: dict[str, Any], wanted: dict[str, Any]) -> None:
    group, name = kind.split("/")
    shown = cells(name, obj, group)
    assert {column: shown[column] for column in wanted} == wanted


def test_every_kind_shows_an_object_that_has_nothing_but_a_name() -> None:
    for group, name in COLUMNS:
        assert all(cell is not None for cell in cells(name, {"metadata": {"name": "x"}}, group).values()), name


def test_a_storage_driver_shows_what_it_asks_of_kubelets() -> None:
    shown = cells("CSIDriver", {"metadata": {"name": "disk"}, "spec": {"attachRequired": False}}, "storage.k8s.io")
    assert (shown["AttachRequired"], shown["TokenRequests"], shown["Modes"]) == (False, "<unset>", "Persistent")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(json_values, json_values)
def test_a_pod_of_any_shape_has_cells(spec: Any, status: Any) -> None:
    assert cells("Pod", {"metadata": {}, "spec": spec, "status": status})["Age"] == "<unknown>"


def test_a_row_carries_as_much_of_its_object_as_is_asked_for() -> None:
    obj = named("c", data={"a": "b"})
    kind = KINDS["", "ConfigMap"]
    assert table(kind, [obj], NOW)["rows"][0]["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }
    assert table(kind, [obj], NOW, include="Object")["rows"][0]["object"] == obj
    assert table(kind, [obj], NOW, include="None")["rows"][0]["object"] is None
    assert table(kind, [obj], NOW, version="v1beta1")["apiVersion"] == "meta.k8s.io/v1beta1"


def test_a_scale_shows_what_is_asked_for_and_what_is_there() -> None:
    scale = named("web", spec={"replicas": 3}, status={"replicas": 2})
    assert cells("Scale", scale, "autoscaling") == {"Name": "web", "Desired": 3, "Available": 2, "Age": "3m"}
