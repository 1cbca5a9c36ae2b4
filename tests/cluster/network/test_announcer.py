"""Load balancers' addresses: which node answers, and that the machine finds it."""

import subprocess
import sys
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.cluster.network.conftest import Lan

from weft.adapters import announcing, netns
from weft.cluster.network.announcer import elected
from weft.cluster.network.directory import picture
from weft.cluster.network.objects import Service, Slice

ADDRESS = "192.168.49.201"


def balancer(name: str = "web", ip: str = ADDRESS, **spec: Any) -> Service:
    status = {"loadBalancer": {"ingress": [{"ip": ip}]}}
    spec = {"type": "LoadBalancer", "clusterIP": "10.96.0.60", **spec}
    return msgspec.convert(
        {"metadata": {"name": name, "namespace": "net"}, "spec": spec, "status": status}, Service
    )


def endpoint_on(*nodes: str, ready: bool = True) -> Slice:
    labels = {"kubernetes.io/service-name": "web"}
    return msgspec.convert(
        {
            "metadata": {"name": "web-1", "namespace": "net", "labels": labels},
            "endpoints": [
                {"addresses": [f"10.244.{number}.9"], "nodeName": node, "conditions": {"ready": ready}}
                for number, node in enumerate(nodes)
            ],
        },
        Slice,
    )


def test_one_ready_node_answers_for_an_address_and_without_any_none() -> None:
    state = picture([balancer()], [])

    assert elected(state, ["a"]) == {ADDRESS: "a"}
    assert elected(state, ["c", "b", "a"]) == elected(state, ["a", "b", "c"])
    assert elected(state, []) == {}


def test_by_the_policy_local_a_node_with_a_ready_endpoint_answers() -> None:
    local = balancer(externalTrafficPolicy="Local")

    assert elected(picture([local], [endpoint_on("b")]), ["a", "b", "c"]) == {ADDRESS: "b"}
    assert elected(picture([local], [endpoint_on("b", ready=False)]), ["a", "b", "c"]) == {}
    assert elected(picture([local], [endpoint_on("b")]), ["a", "c"]) == {}


def test_a_service_that_is_no_load_balancer_any_more_has_no_address() -> None:
    assert elected(picture([balancer(type="ClusterIP")], []), ["a"]) == {}


@given(st.sets(st.sampled_from("abcdefgh"), min_size=2), st.data())
def test_a_node_that_goes_moves_its_own_addresses_only(nodes: set[str], data: st.DataObject) -> None:
    state = picture([balancer(f"s{number}", f"192.168.49.{200 + number}") for number in range(20)], [])
    gone = data.draw(st.sampled_from(sorted(nodes)))
    before, after = elected(state, nodes), elected(state, nodes - {gone})

    assert {ip: node for ip, node in before.items() if node != gone}.items() <= after.items()


def test_the_machine_follows_an_address_to_another_node_at_once(lan: Lan) -> None:
    serve = (
        "import socket, sys\ns = socket.create_server(('', 7070))\n"
        "while True: s.accept()[0].send(sys.argv[1].encode())"
    )
    ask = f"import socket; print(socket.create_connection(('{ADDRESS}', 7070), 2).recv(9).decode())"

    def asked() -> str:
        words = [*netns.enter(lan.machine.namespace), sys.executable, "-c", ask]
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=False).stdout.strip()

    one, other = lan.nodes
    with (
        one.serving(sys.executable, "-c", serve, "one"),
        other.serving(sys.executable, "-c", serve, "other"),
    ):
        lan.nodes[0].run("sleep", "0.3")
        for node, name in ((one, "one"), (other, "other"), (one, "one")):
            netns.inside(node.namespace, lambda: announcing.answer(ADDRESS, "eth0"))
            assert netns.inside(node.namespace, announcing.held) == {ADDRESS}
            assert asked() == name
            netns.inside(node.namespace, lambda: announcing.forsake(ADDRESS))
    assert netns.inside(one.namespace, announcing.held) == frozenset()
