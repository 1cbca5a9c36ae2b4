"""The plugin's programs against the node process's server, in real network namespaces: what ADD and CHECK do."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.processes.cni.api import Json, create, serving
from tests.processes.cni.node import Node, injected, namespaces_open
from tests.processes.cni.node import serving as node_serving
from tests.processes.cni.plugins import BEFORE, attachment, call
from tests.support.netns import Pod, pods

from weft.adapters import netns
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import EVENTS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def namespaces() -> Iterator[list[Pod]]:
    with pods(3) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kube(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kube]:
    async with serving(tmp_path_factory.mktemp("api")) as kube:
        yield kube


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node_serving(kube, tmp_path_factory.mktemp("run"), patience=1.0) as node:
        yield node


def path(of: Pod) -> str:
    return f"/run/netns/{of.namespace}"


def listening(of: Pod, *ports: int) -> list[socket.socket]:
    """Sockets that listen in a pod."""

    def listen() -> list[socket.socket]:
        return [socket.create_server(("0.0.0.0", port)) for port in ports]

    return netns.inside(of.namespace, listen)


def taken(listener: socket.socket) -> int:
    """The port that a connection, which comes now, was meant for."""
    listener.settimeout(20)
    connection, _ = listener.accept()
    with connection:
        original = connection.getsockopt(socket.SOL_IP, 80, 16)  # SO_ORIGINAL_DST
    return int.from_bytes(original[2:4])


def connecting(of: Pod, address: str, port: int) -> socket.socket:
    return netns.inside(of.namespace, lambda: socket.create_connection((address, port), 20))


async def test_after_add_what_comes_in_and_what_goes_out_reaches_the_proxy(
    program: Path, node: Node, namespaces: list[Pod]
) -> None:
    here, away = namespaces[0 if program.suffix else 1], namespaces[2]
    name = f"web-{here.namespace}"
    pod = await injected(node.kube, name)
    variables = attachment("shop", name, netns=path(here), uid=pod["metadata"]["uid"])
    for _ in range(2):
        done = await call(program, "ADD", node.config(prevResult=BEFORE), **variables)
        assert (done.code, done.json) == (0, BEFORE), done
    assert pod["metadata"]["uid"] in node.captured
    outbound, inbound = listening(here, 15001, 15006)
    with outbound, inbound, connecting(away, here.address, 8080), connecting(here, away.address, 9090):
        assert (taken(inbound), taken(outbound)) == (8080, 9090)
    checked = await call(program, "CHECK", node.config(prevResult=BEFORE), **variables)
    assert (checked.code, checked.out) == (0, b""), checked
    here.run("iptables", "-t", "nat", "-D", "PREROUTING", "-p", "tcp", "-j", "ISTIO_INBOUND")
    lacking = await call(program, "CHECK", node.config(prevResult=BEFORE), **variables)
    assert lacking.error == 102
    assert "-A PREROUTING -p tcp -j ISTIO_INBOUND" in lacking.json["details"]
    assert f"pod shop/{name} is not captured: 1 rules are missing" in lacking.json["msg"]


async def test_the_result_of_the_plugin_before_goes_on_byte_by_byte(program: Path, node: Node) -> None:
    await create(node.kube, f"plain{program.suffix}")
    result = '{"b" : [1.50, "é\\u00e9"],\n "a":{}, "cniVersion":"0.3.1"}'
    config = f'{{"cniVersion":"0.3.1","cni_agent_run_dir":"{node.folder}","prevResult":{result},"x":1}}'
    done = await call(program, "ADD", config.encode(), **attachment("shop", f"plain{program.suffix}"))
    assert (done.code, done.out.rstrip(b"\n").decode()) == (0, result), done


async def test_pods_that_are_not_the_meshs_pass(program: Path, node: Node) -> None:
    await injected(node.kube, f"own{program.suffix}", initContainers=[{"name": "istio-init", "image": "x"}])
    for namespace, name in (
        ("shop", f"own{program.suffix}"),
        ("kube-system", "nobody-knows"),
        ("istio-system", "nobody-knows-either"),
        ("elsewhere", "istio-cni-node-abcde"),
        ("", ""),
    ):
        config = node.config(prevResult=BEFORE, pod_namespace="elsewhere")
        done = await call(program, "ADD", config, **attachment(namespace, name))
        assert (done.code, done.json) == (0, BEFORE), (namespace, name, done)
    alone = await call(program, "ADD", node.config(), **attachment("kube-system", "by-multus"))
    assert (alone.code, alone.json) == (0, {"cniVersion": "1.0.0"})


async def test_a_pod_that_cannot_be_captured_does_not_start_and_says_why(
    program: Path, node: Node, namespaces: list[Pod]
) -> None:
    name, wrong = f"wrong{program.suffix}", "traffic.sidecar.istio.io/excludeInboundPorts"
    pod = await injected(node.kube, name, {wrong: "80,http"})
    variables = attachment("shop", name, netns=path(namespaces[2]), uid=pod["metadata"]["uid"])
    for _ in range(2):
        failed = await call(program, "ADD", node.config(prevResult=BEFORE), **variables)
        assert failed.error == 101
        assert f"pod shop/{name} cannot be captured: annotation {wrong}" in failed.json["msg"]
    assert "ISTIO" not in namespaces[2].run("iptables-save")
    assert pod["metadata"]["uid"] not in node.captured
    async with asyncio.timeout(30):
        while [each["count"] for each in await about(node.kube, name)] != [2]:
            await asyncio.sleep(0.05)
    (event,) = await about(node.kube, name)
    assert (event["reason"], event["type"]) == ("IstioCNINotCaptured", "Warning")
    assert wrong in event["message"]


async def about(kube: Kube, name: str) -> list[Json]:
    return await kube.list(EVENTS, "shop", fields=f"involvedObject.name={name}")


async def test_a_pod_that_nobody_knows_or_whose_namespace_nobody_can_open_does_not_start(
    program: Path, node: Node
) -> None:
    unknown = await call(program, "ADD", node.config(), **attachment("shop", "nobody", uid="1"))
    assert unknown.error == 11
    assert "pod shop/nobody with UID 1 is not known" in unknown.json["msg"]
    await injected(node.kube, f"lost{program.suffix}")
    lost = await call(program, "ADD", node.config(), **attachment("shop", f"lost{program.suffix}"))
    assert lost.error == 4
    assert "CNI_NETNS=/nowhere" in lost.json["msg"]
    host = attachment("shop", f"lost{program.suffix}", netns="/proc/self/ns/net")
    assert (await call(program, "ADD", node.config(), **host)).error == 102
    odd = attachment("shop", f"lost{program.suffix}", netns="/etc/hostname")
    assert (await call(program, "ADD", node.config(), **odd)).error == 102


async def test_the_log_tells_the_decision_and_each_rule_with_its_reason_where_it_is_asked_to(
    node: Node, namespaces: list[Pod], self_contained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await injected(node.kube, "told")
    variables = attachment("shop", "told", netns=path(namespaces[2]))
    await call(self_contained, "ADD", node.config(plugin_log_level="error"), **variables)
    assert caplog.text == ""
    await call(self_contained, "ADD", node.config(native_nftables=True), **variables)
    assert "ADD pod shop/told: is to be captured" in caplog.text
    assert "ADD pod shop/told: IPv4: # what comes in may be captured" in caplog.text
    assert "ADD pod shop/told: IPv4: -A PREROUTING -p tcp -j ISTIO_INBOUND" in caplog.text
    assert "istio-proxy-nat" in namespaces[2].run("nft", "list", "tables")


async def test_many_calls_at_once_are_all_answered_and_leave_nothing_open(
    node: Node, namespaces: list[Pod], self_contained: Path
) -> None:
    for number in range(4):
        await injected(node.kube, f"many-{number}")
    before = namespaces_open()
    answers = await asyncio.gather(
        *(
            call(self_contained, "ADD", node.config(), **attachment("shop", f"many-{number % 4}", netns=where))
            for number, where in enumerate([path(namespaces[2]), "/nowhere"] * 20)
        )
    )
    # odd ones have no namespace
    assert [answer.error for answer in answers] == [0, 4] * 20
    async with asyncio.timeout(30):
        while namespaces_open() > before:
            await asyncio.sleep(0.05)
    text = node.registry.text()
    assert 'istio_cni_plugin_calls_total{command="ADD",outcome="captured"}' in text
    assert 'istio_cni_plugin_seconds_count{command="ADD",part="rules"}' in text


STRANGER = r"""
import os, socket, sys
path = os.open(sys.argv[1], os.O_PATH)
os.setuid(1)
with socket.socket(socket.AF_UNIX) as one:
    one.connect(f"/proc/self/fd/{path}")
    try:
        one.sendall(b'CNI_COMMAND=STATUS\0\0{"cniVersion":"1.1.0"}')
        one.shutdown(socket.SHUT_WR)
        print("answered:", one.recv(100))
    except ConnectionError:
        print("refused")
"""


async def test_a_peer_that_is_not_root_or_says_nothing_or_too_much_is_let_go(node: Node) -> None:
    """And the others are still answered."""
    server = node.folder / "pluginevent.sock"
    assert server.stat().st_mode & 0o777 == 0o600
    quiet, hasty = (socket.socket(socket.AF_UNIX) for _ in range(2))
    with quiet, hasty:
        quiet.connect(str(server))
        hasty.connect(str(server))
        hasty.sendall(b"CNI_COMMAND=ADD\0")
        hasty.close()
        server.chmod(0o666)
        stranger = await asyncio.create_subprocess_exec(
            "/usr/bin/python3", "-c", STRANGER, str(server), stdout=subprocess.PIPE
        )
        said, _ = await stranger.communicate()
        assert said in {b"refused\n", b"answered: b''\n"}
        reader, writer = await asyncio.open_unix_connection(server)
        writer.write(b"CNI_COMMAND=STATUS\0\0" + b'{"cniVersion":"1.1.0"}')
        writer.write_eof()
        assert await reader.read() == b"0\n"
        writer.close()
