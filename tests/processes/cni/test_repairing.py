"""Pods without their rules, in real namespaces, found by real processes, and repaired by choice."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.processes.cni.api import NODE, create, serving
from tests.support.netns import Pod, pods
from tests.support.processes import sleeping

from weft.adapters import clock, netns
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import EVENTS, PODS
from weft.model.repair import Choice, Signs
from weft.processes.cni import capturing
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.repairing import Orders, Repairer, orders
from weft.processes.cni.settings import parse
from weft.processes.cni.telling import Teller

Json = dict[str, Any]
ENOUGH = 30.0
INJECTED = {"sidecar.istio.io/status": "{}"}
PROXY = {"name": "istio-proxy", "image": "proxyv2", "args": ["proxy", "sidecar"]}
APP = {"name": "app", "image": "app"}
VALIDATION = {"name": "istio-validation", "image": "proxyv2"}
RUNNING: Json = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
NOT_CAPTURED = {"terminated": {"exitCode": 126, "reason": "Error", "containerID": "containerd://v"}}
ORDERS = Orders(
    choice=Choice(repair=True),
    signs=Signs(),
    label=("cni.istio.io/uninitialized", "true"),
    excluded=frozenset({"kube-system"}),
    proc=Path("/proc"),
    how=capturing.IPTABLES,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kube(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kube]:
    async with serving(tmp_path_factory.mktemp("api")) as kube:
        yield kube


@pytest.fixture
def namespaces() -> Iterator[list[Pod]]:
    with pods(2) as made:
        yield made


async def injected(kube: Kube, name: str, annotations: Json = INJECTED) -> Json:
    """A pod of the mesh."""
    return await create(kube, name, annotations, containers=[APP, PROXY], initContainers=[VALIDATION])


async def tell(
    kube: Kube,
    pod: Json,
    validation: Json,
    app: Json | None = None,
    last: Json | None = None,
    run: str = "containerd://v",
) -> None:
    """What a kubelet would, of its containers; `run` is the container of its validation."""
    first: Json = {"name": "istio-validation", "containerID": run, "state": validation}
    first |= {"lastState": last or {}, "ready": False, "restartCount": 1, "image": "proxyv2", "imageID": ""}
    second: Json = {"name": "app", "containerID": "containerd://a" if app else "", "state": app or {"waiting": {}}}
    second |= {"ready": False, "restartCount": 0, "image": "app", "imageID": ""}
    status = {
        "phase": "Running" if app else "Pending",
        "podIP": "10.77.0.11",
        "initContainerStatuses": [first],
        "containerStatuses": [second],
    }
    await kube.patch(PODS, pod["metadata"]["name"], {"status": status}, "shop", subresource="status")


@contextlib.asynccontextmanager
async def repairing(kube: Kube, orders: Orders = ORDERS, vouched: tuple[str, ...] = ()) -> AsyncIterator[Registry]:
    """The node process's part, from its start on; the plugin has just captured the pods that are `vouched` for."""
    following, registry, teller = Pods(kube, NODE), Registry(), Teller(kube, NODE, clock.now)
    repairer = Repairer(kube, following, orders, teller, registry, elapsed=clock.elapsed, now=clock.now)
    for uid in vouched:
        repairer.captured(uid)
    tasks = [asyncio.create_task(each) for each in (teller.run(), repairer.run(), following.run())]
    try:
        yield registry
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for name in [each["metadata"]["name"] for each in await kube.list(PODS, "shop")]:
            await kube.delete(PODS, name, "shop", grace=0)


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(ENOUGH):
        while not await check():
            await asyncio.sleep(0.05)


async def until_told(kube: Kube, pod: Json, reason: str) -> str:
    """What an Event about the pod says, once there is one."""
    said: list[str] = []

    async def is_there() -> bool:
        about = f"involvedObject.name={pod['metadata']['name']},reason={reason}"
        said[:] = [each["message"] for each in await kube.list(EVENTS, "shop", fields=about)]
        return bool(said)

    await eventually(is_there)
    return said[0]


def count(registry: Registry, kind: str, result: str) -> int:
    line = f'istio_cni_repair_pods_repaired_total{{type="{kind}",result="{result}"}} '
    return sum(int(each.removeprefix(line)) for each in registry.text().splitlines() if each.startswith(line))


def has_rules(pod: Pod) -> bool:
    return "ISTIO_OUTPUT" in pod.run("iptables-save", "-t", "nat")


def path(of: Pod) -> str:
    return f"/run/netns/{of.namespace}"


async def test_what_is_done_is_told_by_istios_variables() -> None:
    told = {
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "REPAIR_DELETE_PODS": "true",
        "REPAIR_INIT_CONTAINER_EXIT_CODE": "7",
        "REPAIR_BROKEN_POD_LABEL_VALUE": "yes",
        "HOST_PROC": "/elsewhere",
        "NATIVE_NFTABLES": "true",
    }
    given = orders(parse([], told, host=NODE))
    assert given.choice.action == "delete"
    assert (given.signs.exit_code, given.signs.init_container) == (7, "istio-validation")
    assert given.label == ("cni.istio.io/uninitialized", "yes")
    assert (given.proc, given.how) == (Path("/elsewhere"), capturing.NATIVE)


async def test_a_pod_that_runs_without_rules_is_captured_when_the_node_process_starts(
    kube: Kube, namespaces: list[Pod]
) -> None:
    lost, other = namespaces
    pod, plain = await injected(kube, "lost"), await injected(kube, "plain", {})
    for each in (pod, plain):
        await tell(kube, each, {"terminated": {"exitCode": 0}}, app=RUNNING)
    listener = netns.inside(other.namespace, lambda: socket.create_server(("", 8080)))
    proxy = netns.inside(lost.namespace, lambda: socket.create_server(("", 15001)))

    def connect() -> socket.socket:
        return netns.inside(lost.namespace, lambda: socket.create_connection((other.address, 8080), 5))

    with listener, proxy, connect() as before:
        with sleeping(pod["metadata"]["uid"], lost.namespace), sleeping(plain["metadata"]["uid"], other.namespace):
            async with repairing(kube) as registry:
                said = await until_told(kube, pod, "IstioCNIRepaired")
                assert "Connections that went past the proxy until now are reset" in said
                assert "-A PREROUTING" in said
                assert count(registry, "repair", "success") == 1
        assert capturing.missing(pod, path(lost)) == ()
        assert not has_rules(other)
        # so it is with connections: what went past the proxy ends, what is new goes through it
        before.settimeout(5)
        before.send(b"x")
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(before.recv, 1)
        proxy.settimeout(5)
        with connect(), proxy.accept()[0]:
            pass


async def test_a_pod_whose_validation_fails_is_captured_so_that_it_succeeds(
    kube: Kube, namespaces: list[Pod]
) -> None:
    where = namespaces[0]

    def validate() -> int:
        command = ["istio-iptables", "-b", "*", "-i", "*", "-d", "15090,15021,15020", "--skip-rule-apply"]
        entering = ["nsenter", f"--net={path(where)}", "setpriv", "--reuid=1337", "--clear-groups"]
        reading = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
        program = [sys.executable, "-m", "weft", *command, "--run-validation", "--probe-timeout", "1s"]
        return subprocess.run([*entering, *reading, *program], check=False, timeout=60).returncode

    assert await asyncio.to_thread(validate) == 126
    pod = await injected(kube, "looping")
    with sleeping(pod["metadata"]["uid"], where.namespace):
        async with repairing(kube):
            # it is found while it comes and goes, without a start of the node process
            await tell(kube, pod, {"waiting": {"reason": "CrashLoopBackOff"}}, last=NOT_CAPTURED)
            said = await until_told(kube, pod, "IstioCNIRepaired")
            assert "istio-validation succeeds when it is started next" in said
    assert await asyncio.to_thread(validate) == 0


async def test_rules_that_are_flushed_later_are_put_back_at_the_next_look(
    kube: Kube, namespaces: list[Pod]
) -> None:
    where = namespaces[0]
    pod = await injected(kube, "flushed")
    await tell(kube, pod, {"terminated": {"exitCode": 0}}, app=RUNNING)
    capturing.apply(pod, path(where))
    uid = pod["metadata"]["uid"]
    with sleeping(uid, where.namespace):
        async with repairing(kube, replace(ORDERS, every=0.2), vouched=(uid,)) as registry:
            where.run("iptables", "-t", "nat", "-F")
            assert "were missing" in await until_told(kube, pod, "IstioCNIRepaired")
            assert count(registry, "repair", "success") == 1
    assert capturing.missing(pod, path(where)) == ()


async def test_by_choice_a_pod_whose_validation_fails_is_deleted(kube: Kube) -> None:
    pod, well = await injected(kube, "deleted"), await injected(kube, "well")
    await tell(kube, pod, NOT_CAPTURED)
    await tell(kube, well, {"terminated": {"exitCode": 0}}, last=NOT_CAPTURED)
    async with repairing(kube, replace(ORDERS, choice=Choice(delete=True, label=True))) as registry:

        async def is_going() -> bool:
            try:
                found = await kube.get(PODS, "deleted", "shop")
            except ApiError as error:
                return error.code == 404
            return "deletionTimestamp" in found["metadata"]

        await eventually(is_going)
        await until_told(kube, pod, "IstioCNIDeleted")
        assert count(registry, "delete", "success") == 1
        assert "deletionTimestamp" not in (await kube.get(PODS, "well", "shop"))["metadata"]


async def test_by_choice_it_is_labelled_if_it_is_one_of_those_selected(kube: Kube) -> None:
    other, pod = await injected(kube, "a-one-of-others"), await injected(kube, "labelled")
    await kube.patch(PODS, "a-one-of-others", {"metadata": {"labels": {"team": "other"}}}, "shop")
    for each in (other, pod):
        await tell(kube, each, NOT_CAPTURED)
    chosen = replace(ORDERS, choice=Choice(label=True), label_selectors="team!=other")
    async with repairing(kube, chosen) as registry:
        await until_told(kube, pod, "IstioCNILabelled")
        assert (await kube.get(PODS, "a-one-of-others", "shop"))["metadata"]["labels"] == {"team": "other"}
        labels = (await kube.get(PODS, "labelled", "shop"))["metadata"]["labels"]
        assert labels == {"cni.istio.io/uninitialized": "true"}
        assert count(registry, "label", "success") == 1


async def test_a_pod_that_lacks_some_rules_is_no_reason_to_delete_it(kube: Kube, namespaces: list[Pod]) -> None:
    where = namespaces[0]
    pod = await injected(kube, "drifted")
    await tell(kube, pod, {"terminated": {"exitCode": 0}}, app=RUNNING)
    capturing.apply(pod, path(where))
    where.run("iptables", "-t", "nat", "-F", "ISTIO_OUTPUT")
    with sleeping(pod["metadata"]["uid"], where.namespace):
        async with repairing(kube, replace(ORDERS, choice=Choice(delete=True))):
            assert "-A ISTIO_OUTPUT" in await until_told(kube, pod, "IstioCNINotCaptured")
            assert "deletionTimestamp" not in (await kube.get(PODS, "drifted", "shop"))["metadata"]


async def test_what_cannot_be_repaired_is_told_with_the_way_out_and_tried_again(
    kube: Kube, namespaces: list[Pod]
) -> None:
    ports = "traffic.sidecar.istio.io/excludeOutboundPorts"
    pod = await injected(kube, "wrong", INJECTED | {ports: "ninety"})
    await tell(kube, pod, NOT_CAPTURED)
    with sleeping(pod["metadata"]["uid"], namespaces[0].namespace):
        async with repairing(kube) as registry:
            assert ports in await until_told(kube, pod, "IstioCNIRepairFailed")
            assert not has_rules(namespaces[0])
            await kube.patch(PODS, "wrong", {"metadata": {"annotations": {ports: "90"}}}, "shop")
            await until_told(kube, pod, "IstioCNIRepaired")
            assert count(registry, "repair", "fail") >= 1
    assert "--dport 90 -j RETURN" in namespaces[0].run("iptables-save", "-t", "nat")


async def test_validation_that_goes_on_failing_after_the_repair_is_told_of(
    kube: Kube, namespaces: list[Pod]
) -> None:
    pod = await injected(kube, "stubborn")
    await tell(kube, pod, NOT_CAPTURED)
    with sleeping(pod["metadata"]["uid"], namespaces[0].namespace):
        async with repairing(kube):
            await until_told(kube, pod, "IstioCNIRepaired")
            later = (clock.now() + timedelta(minutes=1)).isoformat(timespec="seconds").replace("+00:00", "Z")
            again = {"terminated": {**NOT_CAPTURED["terminated"], "startedAt": later}}
            await tell(kube, pod, {"waiting": {"reason": "CrashLoopBackOff"}}, last=again, run="containerd://w")
            assert "although all rules are in place" in await until_told(kube, pod, "IstioCNIRepairFailed")


async def test_a_pod_of_an_excluded_namespace_is_left_alone_but_told_why_it_does_not_start(kube: Kube) -> None:
    pod = await injected(kube, "excluded")
    await tell(kube, pod, NOT_CAPTURED)
    async with repairing(kube, replace(ORDERS, choice=Choice(delete=True), excluded=frozenset({"shop"}))):
        assert "namespace shop is excluded" in await until_told(kube, pod, "IstioCNINotCaptured")
        assert "deletionTimestamp" not in (await kube.get(PODS, "excluded", "shop"))["metadata"]


async def test_pods_that_the_plugin_has_just_captured_or_that_go_are_not_looked_into(
    kube: Kube, namespaces: list[Pod]
) -> None:
    new, going = await injected(kube, "new"), await injected(kube, "going")
    for each in (new, going):
        await tell(kube, each, {"terminated": {"exitCode": 0}}, app=RUNNING)
    await kube.delete(PODS, "going", "shop")
    marker = await injected(kube, "wrong", INJECTED | {"traffic.sidecar.istio.io/includeInboundPorts": "x"})
    await tell(kube, marker, {"terminated": {"exitCode": 0}}, app=RUNNING)
    with (
        sleeping(new["metadata"]["uid"], namespaces[0].namespace),
        sleeping(going["metadata"]["uid"], namespaces[1].namespace),
        sleeping(marker["metadata"]["uid"], namespaces[1].namespace),
    ):
        async with repairing(kube, vouched=(new["metadata"]["uid"],)):
            await until_told(kube, marker, "IstioCNIRepairFailed")  # the first look is over
            assert not has_rules(namespaces[0])
            assert not has_rules(namespaces[1])
            # a new sandbox is another matter
            again = {"initContainerStatuses": [{"name": "istio-validation", "containerID": "containerd://w"}]}
            whole = (await kube.get(PODS, "new", "shop"))["status"]["initContainerStatuses"][0]
            again["initContainerStatuses"][0] = whole | again["initContainerStatuses"][0]
            await kube.patch(PODS, "new", {"status": again}, "shop", subresource="status")
            await until_told(kube, new, "IstioCNIRepaired")
    assert has_rules(namespaces[0])
