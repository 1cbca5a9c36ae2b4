from dataclasses import replace
from pathlib import Path

from weft.adapters.cri.types import Image
from weft.cluster.kubelet import node_object, pressure
from weft.cluster.kubelet.node_object import Machine, Registration, State
from weft.cluster.kubelet.pressure import Room

MACHINE = Machine(2, 8 << 30, 100 << 30, "amd64", "6.18.0", "Debian 12", "m", "b", "containerd://1.6.20")
ROOM = Room(4 << 30, 100 << 30, 50 << 30, 1_000_000, 500_000, 30_000)
WHO = Registration("weft", "192.168.49.2", 10250, "10.244.0.0/24")


def test_a_node_says_what_kubectl_shows_of_it() -> None:
    node = node_object.node("weft", "10.244.0.0/24", MACHINE)
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "weft"
    assert node["spec"]["podCIDR"] == "10.244.0.0/24"
    status = node_object.status(WHO, MACHINE, State({}, ROOM), {}, 100.0)
    assert status["capacity"] == {
        "cpu": "2",
        "memory": "8388608Ki",
        "ephemeral-storage": "104857600Ki",
        "pods": "110",
    }
    # what the kubelet keeps free is not for pods
    assert status["allocatable"]["memory"] == "8286208Ki"
    assert status["allocatable"]["ephemeral-storage"] == str(90 << 30)
    assert status["nodeInfo"]["kubeletVersion"] == "v1.36.0+weft"
    assert status["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250
    assert {"type": "InternalIP", "address": "192.168.49.2"} in status["addresses"]


def test_a_runtime_that_is_not_ready_makes_the_node_so_and_the_change_keeps_its_time() -> None:
    ready = node_object.status(WHO, MACHINE, State({}, ROOM), {}, 100.0)
    lacking = {"NetworkReady": "reason:NetworkPluginNotReady message:cni config uninitialized"}
    not_ready = node_object.status(WHO, MACHINE, State(lacking, ROOM), ready, 200.0)
    still = node_object.status(WHO, MACHINE, State(lacking, ROOM), not_ready, 300.0)
    condition = next(each for each in still["conditions"] if each["type"] == "Ready")
    assert condition["status"] == "False"
    assert condition["message"] == (
        "container runtime network not ready: NetworkReady=false "
        "reason:NetworkPluginNotReady message:cni config uninitialized"
    )
    assert condition["lastTransitionTime"] == "1970-01-01T00:03:20Z"
    assert condition["lastHeartbeatTime"] == "1970-01-01T00:05:00Z"
    pressure = next(each for each in still["conditions"] if each["type"] == "MemoryPressure")
    assert pressure["lastTransitionTime"] == "1970-01-01T00:01:40Z"


def test_the_lease_is_renewed_to_the_microsecond() -> None:
    assert node_object.lease("weft", "u", 1.5)["spec"]["renewTime"] == "1970-01-01T00:00:01.500000Z"


def test_this_machine_can_be_described() -> None:
    machine = node_object.look(Path("/"), "containerd://1")
    assert machine.cpu >= 1
    assert machine.memory > 1 << 20
    assert machine.boot_id


def told(room: Room) -> dict[str, tuple[str, str]]:
    return {kind: (value, reason) for kind, value, reason, _ in pressure.conditions(room)}


def test_each_pressure_is_told_when_the_machine_is_under_it() -> None:
    assert {value for value, _ in told(ROOM).values()} == {"False"}
    assert told(replace(ROOM, memory=99 << 20))["MemoryPressure"] == ("True", "KubeletHasInsufficientMemory")
    assert told(replace(ROOM, disk_free=1 << 29))["DiskPressure"] == ("True", "KubeletHasDiskPressure")
    assert told(replace(ROOM, inodes_free=10))["DiskPressure"][0] == "True"
    assert told(replace(ROOM, inodes=0, inodes_free=0))["DiskPressure"][0] == "False"
    # a full tenth of a large disk is no pressure while there is room for this node's needs
    assert told(replace(ROOM, disk_free=5 << 30))["DiskPressure"][0] == "False"
    assert told(replace(ROOM, pids_free=10))["PIDPressure"] == ("True", "KubeletHasInsufficientPID")


def test_the_room_of_this_machine_can_be_seen() -> None:
    room = pressure.look(Path("/"))
    assert 0 < room.disk_free < room.disk
    assert room.memory > 1 << 20
    assert room.pids_free > 0


def test_conditions_of_others_are_kept_and_turns_are_told() -> None:
    foreign = {"type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated"}
    ready = node_object.status(WHO, MACHINE, State({}, ROOM), {"conditions": [foreign]}, 100.0)
    assert ready["conditions"][0] == foreign
    assert node_object.turns({}, ready) == [
        "NodeHasSufficientMemory",
        "NodeHasNoDiskPressure",
        "NodeHasSufficientPID",
        "NodeReady",
    ]
    down = node_object.status(WHO, MACHINE, State({"": "container runtime is down"}, ROOM), ready, 200.0)
    assert node_object.turns(ready, down) == ["NodeNotReady"]
    assert node_object.lasting(ready) != node_object.lasting(down)
    later = node_object.status(WHO, MACHINE, State({}, ROOM), ready, 300.0)
    assert node_object.lasting(ready) == node_object.lasting(later)


def test_the_largest_images_are_listed_first_by_their_names() -> None:
    small = Image("sha256:1", ("docker.io/library/a:1",), ("docker.io/library/a@sha256:2",), "", 10)
    large = Image("sha256:3", ("docker.io/library/b:1",), (), "", 20)
    nameless = Image("sha256:4", (), (), "", 30)
    assert node_object.images([small, large, nameless]) == [
        {"names": ["docker.io/library/b:1"], "sizeBytes": 20},
        {"names": ["docker.io/library/a@sha256:2", "docker.io/library/a:1"], "sizeBytes": 10},
    ]
