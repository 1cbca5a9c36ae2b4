"""Service addresses with real packets: rules in the nodes, servers in the pods, clients everywhere."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from tests.cluster.network.conftest import HERE, Lan, Place, call

from weft.adapters import netns, nft
from weft.cluster.network import service_proxy
from weft.cluster.network.directory import Directory, Picture, picture
from weft.cluster.network.objects import Service, Slice
from weft.cluster.network.ruleset import TABLE, ruleset
from weft.cluster.network.service_ports import balanced

VIP = "10.96.0.50"


def service(name: str = "echo", **spec: Any) -> Service:
    ports = [
        {"name": "tcp", "port": 80, "nodePort": 30080},
        {"name": "udp", "port": 53, "protocol": "UDP"},
    ]
    spec = {"clusterIP": VIP, "ports": ports} | spec
    return msgspec.convert({"metadata": {"name": name, "namespace": "net"}, "spec": spec}, Service)


def slices(*pods: tuple[Place, str], name: str = "echo", **more: Any) -> Slice:
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": "net", "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": [pod.ip], "nodeName": node, **more} for pod, node in pods],
            "ports": [
                {"name": "tcp", "port": 8080, "protocol": "TCP"},
                {"name": "udp", "port": 8053, "protocol": "UDP"},
            ],
        },
        Slice,
    )


def apply(lan: Lan, state: Picture) -> None:
    for place, name in zip(lan.nodes, ("weft", "weft-2"), strict=True):
        text = ruleset(balanced(state, name), service_range="10.96.0.0/12")
        done = place.run("nft", "-f", "-", text=text)
        assert done.returncode == 0, done.stderr


def everywhere(lan: Lan) -> list[tuple[Place, str]]:
    return list(zip(lan.pods, ("weft", "weft", "weft-2", "weft-2"), strict=True))


def names(lines: Sequence[str]) -> Counter[str]:
    return Counter(line.split()[0] for line in lines)


def test_connections_spread_over_all_endpoints_on_all_nodes(lan: Lan, servers: None) -> None:
    apply(lan, picture([service()], [slices(*everywhere(lan))]))

    for place in (lan.pods[0], lan.pods[2], lan.nodes[0], lan.nodes[1], lan.machine):
        found = names(call(place, count=80))
        assert set(found) == {"pod0", "pod1", "pod2", "pod3"}, place
        assert min(found.values()) >= 5, place


def test_udp_is_balanced_as_tcp_is(lan: Lan, servers: None) -> None:
    apply(lan, picture([service()], [slices(*everywhere(lan))]))

    for place in (lan.pods[0], lan.nodes[0], lan.machine):
        assert len(names(call(place, port=53, count=60, protocol="udp"))) == 4, place


def test_pods_are_seen_by_their_own_address(lan: Lan, servers: None) -> None:
    apply(lan, picture([service()], [slices((lan.pods[3], "weft-2"))]))

    assert call(lan.pods[0]) == [f"pod3 {lan.pods[0].ip}"]


def test_a_pod_reaches_itself_by_its_own_service(lan: Lan, servers: None) -> None:
    apply(lan, picture([service()], [slices((lan.pods[0], "weft"))]))

    assert names(call(lan.pods[0], count=3)) == {"pod0": 3}


def test_a_node_port_serves_on_every_node(lan: Lan, servers: None) -> None:
    apply(lan, picture([service(type="NodePort")], [slices((lan.pods[1], "weft"), (lan.pods[2], "weft-2"))]))

    for node in lan.nodes:
        for place in (lan.machine, lan.pods[0], lan.nodes[0]):
            assert set(names(call(place, node.ip, port=30080, count=20))) == {"pod1", "pod2"}, (node, place)


def test_a_service_without_endpoints_refuses_at_once(lan: Lan, servers: None) -> None:
    apply(lan, picture([service()], []))

    for place in (lan.pods[0], lan.nodes[1], lan.machine):
        assert call(place) == ["ConnectionRefusedError 0.0"], place
        # a datagram that its own machine's rules reject does not leave at all: send() says EPERM
        refusal = "PermissionError 0.0" if place == lan.nodes[1] else "ConnectionRefusedError 0.0"
        assert call(place, port=53, protocol="udp") == [refusal], place
        assert call(place, lan.nodes[0].ip, port=30080) == ["ConnectionRefusedError 0.0"], place


def test_an_address_of_no_service_refuses_at_once(lan: Lan, servers: None) -> None:
    apply(lan, picture([service()], [slices(*everywhere(lan))]))

    for place in (lan.pods[0], lan.nodes[1], lan.machine):
        assert call(place, "10.96.7.7") == ["ConnectionRefusedError 0.0"], place
        assert call(place, VIP, port=81) == ["ConnectionRefusedError 0.0"], place


def test_a_client_with_affinity_keeps_its_endpoint(lan: Lan, servers: None) -> None:
    apply(lan, picture([service(sessionAffinity="ClientIP")], [slices(*everywhere(lan))]))

    assert len(names(call(lan.pods[0], count=20))) == 1


def apply_change(lan: Lan, before: Picture, after: Picture) -> None:
    for place, name in zip(lan.nodes, ("weft", "weft-2"), strict=True):
        text = ruleset(balanced(after, name), service_range="10.96.0.0/12", held=balanced(before, name))
        done = place.run("nft", "-f", "-", text=text)
        assert done.returncode == 0, done.stderr


def test_a_client_with_affinity_stays_while_other_endpoints_come_and_go(lan: Lan, servers: None) -> None:
    sticky = service(sessionAffinity="ClientIP")
    all_of_them = everywhere(lan)
    state = picture([sticky], [slices(*all_of_them)])
    apply(lan, state)
    clients = (lan.pods[0], lan.pods[2], lan.machine)
    mine = {client.namespace: call(client)[0].split()[0] for client in clients}
    for client in clients:
        own = int(mine[client.namespace].removeprefix("pod"))
        for others in ([0], [1], [2], [3], [0, 1, 2, 3]):
            kept = [pod for number, pod in enumerate(all_of_them) if number == own or number in others]
            after = picture([sticky], [slices(*kept)])
            apply_change(lan, state, after)
            state = after
            assert names(call(client, count=8)) == {mine[client.namespace]: 8}, (client, others)
        rest = picture([sticky], [slices(*(pod for number, pod in enumerate(all_of_them) if number != own))])
        apply_change(lan, state, rest)
        assert len(names(call(client, count=8))) == 1, "its endpoint is gone: it gets another, and stays there"
        state = picture([sticky], [slices(*all_of_them)])
        apply_change(lan, rest, state)
        mine = {one.namespace: call(one)[0].split()[0] for one in clients}


def test_affinity_ends_after_its_timeout(lan: Lan, servers: None) -> None:
    config = {"clientIP": {"timeoutSeconds": 1}}
    sticky = service(sessionAffinity="ClientIP", sessionAffinityConfig=config)
    apply(lan, picture([sticky], [slices(*everywhere(lan))]))

    def remembered() -> bool:
        return f"{lan.pods[0].ip} expires" in lan.nodes[0].run("nft", "list", "table", "ip", TABLE).stdout

    call(lan.pods[0])
    assert remembered()
    time.sleep(1.3)
    assert not remembered()


def test_the_outer_policy_is_not_about_a_nodes_own_pods(lan: Lan, servers: None) -> None:
    local = service(type="NodePort", externalTrafficPolicy="Local")
    apply(lan, picture([local], [slices((lan.pods[3], "weft-2"))]))

    for place in (lan.pods[0], lan.nodes[0]):
        assert set(names(call(place, lan.nodes[0].ip, port=30080))) == {"pod3"}, place
    assert call(lan.machine, lan.nodes[0].ip, port=30080)[0].startswith("TimeoutError"), "dropped: none is here"
    assert call(lan.machine, lan.nodes[1].ip, port=30080) == [f"pod3 {lan.machine.ip}"], "its address is kept"
    apply(lan, picture([local], []))
    assert call(lan.machine, lan.nodes[0].ip, port=30080) == ["ConnectionRefusedError 0.0"]


def test_an_inner_policy_drops_where_only_this_node_has_no_endpoint(lan: Lan, servers: None) -> None:
    apply(lan, picture([service(internalTrafficPolicy="Local")], [slices((lan.pods[3], "weft-2"))]))

    assert call(lan.pods[0])[0].startswith("TimeoutError")
    assert call(lan.pods[2]) == [f"pod3 {lan.pods[2].ip}"]


def balancer(ip: str, **spec: Any) -> Service:
    made = service(type="LoadBalancer", **spec)
    return msgspec.structs.replace(made, status={"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"}]}})


def test_a_load_balancer_serves_only_the_sources_that_it_names(lan: Lan, servers: None) -> None:
    ip = lan.nodes[0].ip
    ranges = [f"{lan.machine.ip}/32", "10.244.0.0/24", "10.244.0.0/25", " 10.9.8.7/24 ", "fd00::/8"]
    wanted = balancer(ip, loadBalancerSourceRanges=ranges)
    apply(lan, picture([wanted], [slices(*everywhere(lan))]))

    assert len(names(call(lan.machine, ip, count=40))) == 4
    assert len(names(call(lan.pods[0], ip, count=40))) == 4
    assert call(lan.pods[2], ip)[0].startswith("TimeoutError"), "its range is not named"
    assert len(names(call(lan.pods[2], count=40))) == 4, "by the service's own address anybody may come"
    assert len(names(call(lan.pods[2], ip, port=30080, count=40))) == 4, "and by the node port"


def test_a_balancer_that_is_a_proxy_is_not_short_cut(lan: Lan, servers: None) -> None:
    wanted = msgspec.structs.replace(
        service(type="LoadBalancer"),
        status={"loadBalancer": {"ingress": [{"ip": "192.168.49.240", "ipMode": "Proxy"}]}},
    )
    assert [port.balancer_ips for port in balanced(picture([wanted], []), "weft")] == [(), ()]


def test_an_address_that_is_none_spoils_nothing(lan: Lan, servers: None) -> None:
    bad = service("bad", clusterIP="10.96.0.51", externalIPs=["300.1.1.1", "fd00::1", 'x"; flush ruleset'])
    apply(lan, picture([bad, service()], [slices(*everywhere(lan))]))

    assert len(names(call(lan.pods[0], count=40))) == 4


def test_sctp_ports_have_rules_as_others_have(lan: Lan) -> None:
    ports = [{"name": "sig", "port": 36412, "protocol": "SCTP", "nodePort": 30412}]
    labels = {"kubernetes.io/service-name": "echo"}
    part = {
        "metadata": {"name": "echo", "namespace": "net", "labels": labels},
        "endpoints": [{"addresses": [lan.pods[0].ip]}],
        "ports": [{"name": "sig", "port": 36412, "protocol": "SCTP"}],
    }
    apply(lan, picture([service(ports=ports)], [msgspec.convert(part, Slice)]))

    listed = lan.nodes[0].run("nft", "list", "table", "ip", TABLE).stdout
    assert f"dnat to {lan.pods[0].ip}:36412" in listed
    assert "sctp . 30412" in listed


@pytest.mark.parametrize(
    ("zone", "hints", "expected"),
    [
        ("a", ["a", "a", "b", "b"], [0, 1]),
        ("b", ["a", "a", "b", "b"], [2, 3]),
        ("c", ["a", "a", "b", "b"], [0, 1, 2, 3]),
        ("", ["a", "a", "b", "b"], [0, 1, 2, 3]),
        ("a", ["a", "", "b", "b"], [0, 1, 2, 3]),
    ],
)
def test_hints_lead_to_the_own_zone_where_all_endpoints_have_them(
    lan: Lan, zone: str, hints: list[str], expected: list[int]
) -> None:
    named = [{"hints": {"forZones": [{"name": hint}]}} if hint else {} for hint in hints]
    parts = [slices(pod, name=f"s{i}", **named[i]) for i, pod in enumerate(everywhere(lan))]
    labels = {"kubernetes.io/service-name": "echo"}
    parts = [
        msgspec.structs.replace(one, metadata=msgspec.structs.replace(one.metadata, labels=labels))
        for one in parts
    ]
    state = replace(picture([service()], parts), zone=zone)

    found = balanced(state, "weft")[0]

    assert [target.ip for target in found.inside] == [lan.pods[index].ip for index in expected]


def test_hints_for_a_node_come_before_those_for_its_zone(lan: Lan) -> None:
    hints = {"forZones": [{"name": "a"}], "forNodes": [{"name": "weft"}]}
    near = slices((lan.pods[0], "weft"), hints=hints)
    far = slices((lan.pods[2], "weft-2"), name="far", hints=hints | {"forNodes": [{"name": "weft-2"}]})
    far = msgspec.structs.replace(far, metadata=msgspec.structs.replace(far.metadata, labels=near.metadata.labels))
    state = replace(picture([service()], [near, far]), zone="a")

    assert [target.ip for target in balanced(state, "weft")[0].inside] == [lan.pods[0].ip]
    assert len(balanced(state, "weft-3")[0].inside) == 2, "the zone's, where the node has none"


async def test_a_flow_of_datagrams_from_before_the_service_finds_it(lan: Lan, servers: None) -> None:
    """The kernel remembers for half a minute that nobody translated the first ones."""
    ports = [{"name": "udp", "port": 53, "nodePort": 30053, "protocol": "UDP"}]
    client = (
        "import socket, sys, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.1)\n"
        f"s.connect(('{lan.nodes[0].ip}', 30053))\n"
        "for _ in range(150):\n"
        "    try: s.send(b'hello'); print(s.recv(99).decode().split()[0], flush=True); break\n"
        "    except OSError: print('none', flush=True); time.sleep(0.02)\n"
    )
    directory, applied = Directory(), list[float]()
    async with following(lan, directory, applied):
        show(directory, picture([], []))
        await until(lambda: bool(applied))
        words = [*netns.enter(lan.machine.namespace), sys.executable, "-c", client]
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        assert process.stdout
        assert await process.stdout.readline() == b"none\n"
        show(directory, picture([service(type="NodePort", ports=ports)], [slices((lan.pods[0], "weft"))]))
        output, _ = await process.communicate()
    assert output.decode().split()[-1] == "pod0"


def test_two_services_with_one_external_address_leave_the_rest_of_the_rules_alone(lan: Lan, servers: None) -> None:
    both = [
        service(name, clusterIP=f"10.96.4.{ip}", externalIPs=["192.168.49.240"]) for ip, name in enumerate("ab")
    ]
    parts = [slices((lan.pods[ip], "weft"), name=name) for ip, name in enumerate("ab")]
    apply(lan, picture([*both, service()], [*parts, slices(*everywhere(lan))]))

    assert names(call(lan.pods[2], "192.168.49.240", count=3)) == {"pod0": 3}, "the first of them by name"
    assert names(call(lan.pods[2], "10.96.4.1", count=3)) == {"pod1": 3}
    assert len(names(call(lan.pods[2], count=40))) == 4


def test_a_change_takes_away_what_is_no_more(lan: Lan) -> None:
    many = [
        service(f"s{number}", clusterIP=f"10.96.3.{number}", sessionAffinity="ClientIP") for number in range(5)
    ]
    parts = [slices(*everywhere(lan), name=f"s{number}") for number in range(5)]
    apply(lan, picture([], []))
    empty = lan.nodes[0].run("nft", "list", "table", "ip", TABLE).stdout
    apply_change(lan, picture([], []), picture(many, parts))
    assert lan.nodes[0].run("nft", "list", "table", "ip", TABLE).stdout != empty
    apply_change(lan, picture(many, parts), picture([], []))

    assert lan.nodes[0].run("nft", "list", "table", "ip", TABLE).stdout == empty


def test_a_local_traffic_policy_keeps_to_the_node(lan: Lan, servers: None) -> None:
    policy = {"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local", "type": "NodePort"}
    apply(lan, picture([service(**policy)], [slices(*everywhere(lan))]))

    assert set(names(call(lan.pods[0], count=30))) == {"pod0", "pod1"}
    assert set(names(call(lan.machine, lan.nodes[1].ip, port=30080, count=30))) == {"pod2", "pod3"}


def test_other_tables_are_left_alone(lan: Lan) -> None:
    lan.nodes[0].run("nft", "-f", "-", text="table ip others { chain c { counter; }; }\n")
    apply(lan, picture([service()], [slices(*everywhere(lan))]))

    assert lan.nodes[0].run("nft", "list", "table", "ip", "others").returncode == 0
    listed = lan.nodes[0].run("nft", "list", "table", "ip", TABLE).stdout
    assert 'comment "net/echo tcp"' in listed
    lan.nodes[0].run("nft", "delete", "table", "ip", "others")


@contextlib.asynccontextmanager
async def following(lan: Lan, directory: Directory, applied: list[float]) -> AsyncIterator[None]:
    async def on_node(text: str) -> None:
        words = [*netns.enter(lan.nodes[0].namespace), "nft", "-f", "-"]
        done = await asyncio.to_thread(
            subprocess.run, words, input=text.encode(), capture_output=True, check=False, timeout=10
        )
        if done.returncode:
            raise nft.NftError(done.stderr.decode())
        applied.append(time.monotonic())

    async def forget(address: str, port: int, target: str) -> None:
        words = [*netns.enter(lan.nodes[0].namespace), *nft.forgetting_udp(address, port, target)]
        await asyncio.to_thread(subprocess.run, words, capture_output=True, check=False, timeout=10)

    task = asyncio.create_task(
        service_proxy.follow(directory, "weft", service_range="10.96.0.0/12", apply=on_node, forget=forget)
    )
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def show(directory: Directory, state: Picture) -> None:
    directory.picture, directory.complete = state, True
    for listener in directory._listeners:
        listener()


async def test_established_connections_outlive_every_change(lan: Lan, servers: None) -> None:
    one = slices((lan.pods[2], "weft-2"))
    directory, applied = Directory(), list[float]()
    async with following(lan, directory, applied):
        show(directory, picture([service()], [one]))
        await until(lambda: bool(applied))
        words = [*netns.enter(lan.pods[0].namespace), sys.executable, str(HERE / "call.py")]
        process = await asyncio.create_subprocess_exec(
            *words, "tcp", VIP, "80", "200", "keep", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout
        assert await process.stdout.readline()
        for number in range(60):
            other = service(f"other{number}", clusterIP=f"10.96.1.{number}")
            show(directory, picture([service(), other], [one, slices(*everywhere(lan), name=f"other{number}")]))
            await asyncio.sleep(0.02)
        output, _ = await process.communicate()
    assert set(output.decode().splitlines()) == {f"pod2 {lan.pods[0].ip}"}
    assert len(output.splitlines()) == 199


async def test_many_changes_at_once_are_few_transactions_and_the_first_is_not_delayed(lan: Lan) -> None:
    directory, applied = Directory(), list[float]()
    async with following(lan, directory, applied):
        show(directory, picture([], []))
        await until(lambda: bool(applied))
        await asyncio.sleep(0.1)
        applied.clear()
        begun = time.monotonic()
        for number in range(100):
            show(directory, picture([service(f"s{number}", clusterIP=f"10.96.2.{number}")], []))
            await asyncio.sleep(0)
        await until(lambda: bool(applied))
        first = applied[0] - begun
        await asyncio.sleep(0.3)
    assert first < 0.25
    assert len(applied) <= 4
    assert "net/s99 tcp" in lan.nodes[0].run("nft", "list", "table", "ip", TABLE).stdout


async def until(done: Any, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not done():
            await asyncio.sleep(0.005)


def test_terminating_endpoints_serve_only_where_no_ready_one_is_left(lan: Lan) -> None:
    def state(ready: bool) -> Picture:  # noqa: FBT001 -- the case of the test
        leaving = {"conditions": {"ready": False, "serving": True, "terminating": True}}
        kept = [slices((lan.pods[1], "weft"), name="b")] if ready else []
        old = slices((lan.pods[0], "weft"), name="a", **leaving)
        renamed = [
            msgspec.structs.replace(
                one,
                metadata=msgspec.structs.replace(one.metadata, labels={"kubernetes.io/service-name": "echo"}),
            )
            for one in (old, *kept)
        ]
        return picture([service()], renamed)

    both, alone = balanced(state(ready=True), "weft")[0], balanced(state(ready=False), "weft")[0]
    assert [target.ip for target in both.inside] == [lan.pods[1].ip]
    assert [target.ip for target in alone.inside] == [lan.pods[0].ip]
