from weft.cluster.kubelet import node_object
from weft.cluster.kubelet.node_object import Machine

MACHINE = Machine(2, 8 << 30, 100 << 30, "amd64", "6.18.0", "Debian 12", "m", "b", "containerd://1.6.20")


def test_a_node_says_what_kubectl_shows_of_it() -> None:
    node = node_object.node("weft", "10.244.0.0/24", MACHINE)
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "weft"
    assert node["spec"]["podCIDR"] == "10.244.0.0/24"
    status = node_object.status("weft", "192.168.49.2", 10250, MACHINE, {}, {}, 100.0)
    assert status["capacity"] == {
        "cpu": "2",
        "memory": "8388608Ki",
        "ephemeral-storage": "104857600Ki",
        "pods": "110",
    }
    assert status["nodeInfo"]["kubeletVersion"] == "v1.36.0+weft"
    assert status["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250
    assert {"type": "InternalIP", "address": "192.168.49.2"} in status["addresses"]


def test_a_runtime_that_is_not_ready_makes_the_node_so_and_the_change_keeps_its_time() -> None:
    ready = node_object.status("weft", "1.2.3.4", 10250, MACHINE, {}, {}, 100.0)
    lacking = {"NetworkReady": "cni config uninitialized"}
    not_ready = node_object.status("weft", "1.2.3.4", 10250, MACHINE, lacking, ready, 200.0)
    still = node_object.status("weft", "1.2.3.4", 10250, MACHINE, lacking, not_ready, 300.0)
    condition = next(each for each in still["conditions"] if each["type"] == "Ready")
    assert condition["status"] == "False"
    assert "cni config uninitialized" in condition["message"]
    assert condition["lastTransitionTime"] == "1970-01-01T00:03:20Z"
    assert condition["lastHeartbeatTime"] == "1970-01-01T00:05:00Z"
    pressure = next(each for each in still["conditions"] if each["type"] == "MemoryPressure")
    assert pressure["lastTransitionTime"] == "1970-01-01T00:01:40Z"


def test_the_lease_is_renewed_to_the_microsecond() -> None:
    assert node_object.lease("weft", 1.5)["spec"]["renewTime"] == "1970-01-01T00:00:01.500000Z"


def test_this_machine_can_be_described() -> None:
    from pathlib import Path

    machine = node_object.look(Path("/"), "containerd://1")
    assert machine.cpu >= 1
    assert machine.memory > 1 << 20
    assert machine.boot_id
