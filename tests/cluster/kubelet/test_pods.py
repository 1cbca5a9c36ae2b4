"""Pods on a real containerd: what people run, from its start to its removal without a trace."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.cluster.kubelet.support import Containerd, Json, Node, pod

SHELL: Json = {"name": "shell", "image": "centos:7.9.2009", "command": ["tail", "-f", "/dev/null"]}
NGINX: Json = {
    "name": "nginx",
    "image": "nginx:1.25.3",
    "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
}


def script(name: str, text: str, **more: object) -> Json:
    return {"name": name, "image": "busybox:1.36", "command": ["sh", "-c", text], **more}


def traces(containerd: Containerd, uid: str) -> list[str]:
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*{containerd.cgroup}/pod{uid}")]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if uid in line]
    files = [str(path) for path in containerd.paths.home.glob(f"*/*{uid}*")]
    return cgroups + mounts + files


async def test_two_containers_run_answer_log_and_go_without_a_trace(node: Node, containerd: Containerd) -> None:
    web = pod("web", NGINX, SHELL, volumes=[{"name": "fast", "emptyDir": {"medium": "Memory"}}])
    web["spec"]["containers"][1] = SHELL | {"volumeMounts": [{"name": "fast", "mountPath": "/fast"}]}
    node.pods.apply(web)
    status = await node.ready("web")
    assert status["phase"] == "Running"
    assert status["podIP"].startswith("10.199.0.")
    assert [each["ready"] for each in status["containerStatuses"]] == [True, True]
    head = await node.run("web", "shell", "curl", "-sI", "-A", "tester", "http://127.0.0.1/")
    assert "HTTP/1.1 200 OK" in head
    assert "Content-Length: 615" in head
    assert re.search(r"Server: nginx/\d", head)
    assert "tmpfs" in await node.run("web", "shell", "sh", "-c", "grep /fast /proc/mounts")
    log = (containerd.paths.home / "logs" / "default_web_uid-web" / "nginx" / "0.log").read_text()
    assert re.search(r'stdout F 127\.0\.0\.1 - - \[.*\] "HEAD / HTTP/1\.1" 200 0 "-" "tester" "-"', log)
    told = node.memory.told("web")
    assert 'Pulled: Container image "nginx:1.25.3" is an alias for the machine\'s nginx' in told
    assert "Started: Started container shell" in told
    assert traces(containerd, "uid-web")

    web["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 1}
    node.pods.apply(web)
    async with asyncio.timeout(10):
        await node.pods.idle()
    assert node.memory.removed == ["web"]
    assert traces(containerd, "uid-web") == []
    assert await node.station.runtime.sandboxes() == []
    assert await node.station.runtime.containers() == []


async def test_init_containers_run_in_order_and_a_sidecar_keeps_running(node: Node) -> None:
    shared = {"volumeMounts": [{"name": "work", "mountPath": "/work"}]}
    node.pods.apply(
        pod(
            "steps",
            script("main", "echo main >>/work/log; sleep 100", **shared),
            initContainers=[
                script("first", "sleep 0.3; echo first >>/work/log", **shared),
                script(
                    "side",
                    "echo side >>/work/log; touch /up; sleep 100",
                    restartPolicy="Always",
                    startupProbe={"exec": {"command": ["test", "-e", "/up"]}, "periodSeconds": 1},
                    **shared,
                ),
                script("last", "echo last >>/work/log", **shared),
            ],
            volumes=[{"name": "work", "emptyDir": {}}],
        )
    )
    status = await node.ready("steps")
    assert (await node.run("steps", "main", "cat", "/work/log")).split() == ["first", "side", "last", "main"]
    first, side, last = status["initContainerStatuses"]
    assert first["state"]["terminated"]["reason"] == last["state"]["terminated"]["reason"] == "Completed"
    assert "running" in side["state"]


async def test_a_pod_that_is_done_succeeds_and_one_that_fails_says_how(node: Node) -> None:
    node.pods.apply(pod("job", script("main", "echo bye >/dev/termination-log"), restartPolicy="Never"))
    node.pods.apply(pod("bad", script("main", "exit 3"), restartPolicy="Never"))
    done = await node.until("job", lambda status: status.get("phase") == "Succeeded")
    assert done["containerStatuses"][0]["state"]["terminated"]["message"] == "bye\n"
    failed = await node.until("bad", lambda status: status.get("phase") == "Failed")
    assert failed["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


async def test_a_container_that_keeps_ending_is_held_back(node: Node) -> None:
    node.pods.apply(pod("crash", script("main", "echo oops; exit 7")))

    def held(status: Json) -> bool:
        statuses = status.get("containerStatuses", ())
        waiting = [each["state"].get("waiting", {}).get("reason") for each in statuses if each["restartCount"]]
        return waiting == ["CrashLoopBackOff"]

    status = (await node.until("crash", held))["containerStatuses"][0]
    assert status["state"]["waiting"]["message"] == (
        "back-off 10s restarting failed container=main pod=crash_default(uid-crash)"
    )
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 7
    await asyncio.sleep(0.1)
    backoff = "BackOff: Back-off restarting failed container main in pod crash_default(uid-crash)"
    assert backoff in node.memory.told("crash")


async def test_a_program_that_is_not_there_is_told_in_the_status(node: Node) -> None:
    node.pods.apply(pod("typo", {"name": "main", "image": "centos:7", "command": ["no-such-program"]}))

    def ended(status: Json) -> bool:
        return any("terminated" in each["lastState"] for each in status.get("containerStatuses", ()))

    last = (await node.until("typo", ended))["containerStatuses"][0]["lastState"]["terminated"]
    assert last["reason"] == "StartError"
    assert "no-such-program" in last["message"]


async def test_a_port_that_is_taken_ends_in_the_containers_log(node: Node, containerd: Containerd) -> None:
    second = {"name": "again", "image": "nginx:1.25.3"}
    node.pods.apply(pod("twice", NGINX, second))
    await node.until(
        "twice", lambda status: any(each["restartCount"] for each in status.get("containerStatuses", ()))
    )
    logs = containerd.paths.home / "logs" / "default_twice_uid-twice" / "again"
    assert "Address already in use" in (logs / "0.log").read_text()


async def test_an_image_that_cannot_be_had_is_explained(node: Node) -> None:
    node.pods.apply(pod("lost", {"name": "main", "image": "registry.invalid/nobody/nothing:1"}))

    def waiting(reason: str) -> Callable[[Json], bool]:
        def holds(status: Json) -> bool:
            states = [each["state"].get("waiting", {}) for each in status.get("containerStatuses", ())]
            return any(each.get("reason") == reason for each in states)

        return holds

    await node.until("lost", waiting("ErrImagePull"), 30)
    status = await node.until("lost", waiting("ImagePullBackOff"))
    message = status["containerStatuses"][0]["state"]["waiting"]["message"]
    assert 'Back-off pulling image "registry.invalid/nobody/nothing:1"' in message
    assert "images.yaml" in message
    assert any(each.startswith("Failed: Failed to pull image") for each in node.memory.told("lost"))


async def test_the_users_own_aliases_come_first_and_a_bad_file_gives_one_clear_error(
    node: Node, containerd: Containerd
) -> None:
    file = containerd.paths.home / "images.yaml"
    file.write_text("aliases: [{name: mine, match: ['nginx:*'], command: [sleep, '100'], abut: x}]")
    node.pods.apply(pod("mine", {"name": "main", "image": "nginx:1"}))

    def trouble(status: Json) -> str:
        states = [each["state"].get("waiting", {}) for each in status.get("containerStatuses", ())]
        return next((each["message"] for each in states if each.get("message")), "")

    said = trouble(await node.until("mine", trouble))
    assert f"{file}: Object contains unknown field `abut`" in said
    file.write_text("aliases: [{name: mine, match: ['nginx:*'], command: [sleep, '100']}]")
    node.pods.apply(pod("mine2", {"name": "main", "image": "nginx:2"}))
    await node.ready("mine2")
    assert await node.run("mine2", "main", "cat", "/proc/1/cmdline") == "sleep\x00100\x00"


async def test_a_failing_liveness_probe_restarts_the_container(node: Node) -> None:
    probe = {"exec": {"command": ["test", "-e", "/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    node.pods.apply(pod("sick", script("main", "touch /ok; sleep 2; rm /ok; sleep 100", livenessProbe=probe)))
    await node.until(
        "sick", lambda status: any(each["restartCount"] for each in status.get("containerStatuses", ()))
    )
    told = node.memory.told("sick")
    assert any(each.startswith("Unhealthy: Liveness probe failed") for each in told)
    assert "Killing: Container main failed liveness probe, will be restarted" in told


async def test_a_deletion_runs_the_hook_and_then_kills_what_does_not_end(
    node: Node, containerd: Containerd
) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >/shared/hook"]}}}
    mount = [{"name": "shared", "mountPath": "/shared"}]
    folder = containerd.paths.home / "shared"
    stubborn = pod(
        "stubborn",
        script("main", "trap '' TERM; while :; do sleep 1; done", lifecycle=hook, volumeMounts=mount),
        volumes=[{"name": "shared", "hostPath": {"path": str(folder), "type": "DirectoryOrCreate"}}],
    )
    node.pods.apply(stubborn)
    await node.ready("stubborn")
    stubborn["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 1}
    node.pods.apply(stubborn)
    async with asyncio.timeout(8):
        await node.pods.idle()
    assert (folder / "hook").read_text() == "hook\n"
    terminated = node.memory.statuses["stubborn"]["containerStatuses"][0]["state"]["terminated"]
    assert terminated["exitCode"] == 137


async def test_a_restarted_kubelet_adopts_what_runs_and_removes_orphans(
    start: Callable[[], Awaitable[Node]],
) -> None:
    node = await start()
    kept, orphan = pod("kept", NGINX), pod("orphan", SHELL)
    node.pods.apply(kept)
    node.pods.apply(orphan)
    status = await node.ready("kept")
    await node.ready("orphan")
    again = await start()
    await again.pods.replace([{**kept, "status": dict(status)}])
    async with asyncio.timeout(10):
        while {each.name for each in await again.station.runtime.sandboxes()} != {"kept"}:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    after = await again.ready("kept")
    assert after["containerStatuses"][0]["containerID"] == status["containerStatuses"][0]["containerID"]
    assert after["containerStatuses"][0]["ready"] is True
