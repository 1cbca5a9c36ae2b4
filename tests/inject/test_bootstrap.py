import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from weft.adapters import envoy_process
from weft.inject import bootstrap, node, readiness

ENVIRONMENT = {
    "POD_NAME": "nginx-1",
    "POD_NAMESPACE": "sidecar",
    "INSTANCE_IP": "10.244.0.6",
    "SERVICE_ACCOUNT": "default",
    "CA_ADDR": "istiod.istio-system.svc:15012",
    "PROXY_CONFIG": "{}\n",
    "ISTIO_META_CLUSTER_ID": "Kubernetes",
    "ISTIO_META_WORKLOAD_NAME": "nginx-deployment",
}
NODE = node.node(ENVIRONMENT, {"app": "nginx"}, {}, version="0.1.0")
BOOTSTRAP = bootstrap.bootstrap(NODE, bootstrap.ProxyPorts(), bootstrap.Sockets())


def test_the_node_is_named_as_istiod_expects() -> None:
    assert BOOTSTRAP["node"]["id"] == "sidecar~10.244.0.6~nginx-1.sidecar~sidecar.svc.cluster.local"
    assert BOOTSTRAP["node"]["cluster"] == "nginx.sidecar"
    metadata = BOOTSTRAP["node"]["metadata"]
    assert metadata["NAMESPACE"] == "sidecar"
    assert metadata["CLUSTER_ID"] == "Kubernetes"
    assert metadata["WORKLOAD_NAME"] == "nginx-deployment"
    assert metadata["LABELS"] == {"app": "nginx"}
    assert metadata["PILOT_SAN"] == ["istiod.istio-system.svc"]


def test_the_static_clusters_and_listeners_are_those_that_proxy_config_shows() -> None:
    static = BOOTSTRAP["static_resources"]
    assert [one["name"] for one in static["clusters"]] == ["prometheus_stats", "agent", "sds-grpc", "xds-grpc"]
    ports = [one["address"]["socket_address"]["port_value"] for one in static["listeners"]]
    assert ports == [15090, 15021]


def test_a_pods_label_says_where_it_is() -> None:
    assert BOOTSTRAP["node"]["locality"] == {}
    for labels in (
        {"istio-locality": "us.west.r1"},
        {"topology.istio.io/locality": "us/west/r1", "istio-locality": "x"},
    ):
        made = bootstrap.bootstrap(
            node.node(ENVIRONMENT, labels, {}, version="0.1.0"), bootstrap.ProxyPorts(), bootstrap.Sockets()
        )
        assert made["node"]["locality"] == {"region": "us", "zone": "west", "sub_zone": "r1"}


def test_a_proxy_that_is_to_discover_itself_asks_for_its_own_workload() -> None:
    asking = {**ENVIRONMENT, "ISTIO_META_ENABLE_SELF_DISCOVERY": "true"}
    made = bootstrap.bootstrap(
        node.node(asking, {"app": "nginx"}, {}, version="0.1.0"), bootstrap.ProxyPorts(), bootstrap.Sockets()
    )
    assert made["cluster_manager"] == {"local_cluster_name": "local_cluster"}
    assert made["static_resources"]["clusters"][-1]["type"] == "EDS"
    _validate(made)


def test_envoy_takes_the_bootstrap() -> None:
    _validate(BOOTSTRAP)


def _validate(made: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "envoy-rev.json"
        file.write_text(json.dumps(made))
        command = [str(envoy_process.find()), "--mode", "validate", "-c", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_downward_files_are_read_with_their_quotes() -> None:
    text = 'app="nginx"\nnote="two \\"words\\"\\nand a line"\nempty=""\n'
    assert node.downward(text) == {"app": "nginx", "note": 'two "words"\nand a line', "empty": ""}


def ready(**changed: int) -> str:
    stats = {
        "server.state": 0,
        "listener_manager.workers_started": 1,
        "cluster_manager.cds.update_success": 1,
        "listener_manager.lds.update_success": 1,
    } | {name.replace("__", "."): value for name, value in changed.items()}
    return readiness.reason("".join(f"{name}: {value}\n" for name, value in stats.items()))


def test_a_proxy_with_its_configuration_is_ready() -> None:
    assert ready() == ""


def test_a_proxy_that_refused_an_update_is_ready_with_the_rest() -> None:
    assert ready(listener_manager__lds__update_success=0, listener_manager__lds__update_rejected=1) == ""


def test_a_proxy_says_what_it_waits_for() -> None:
    assert "clusters" in ready(cluster_manager__cds__update_success=0)
    assert "listeners" in ready(listener_manager__lds__update_success=0)
    assert "live" in ready(server__state=2)
    assert "workers" in ready(listener_manager__workers_started=0)
