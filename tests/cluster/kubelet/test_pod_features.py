"""What a pod may ask for beyond its containers, on a real containerd."""

import asyncio
import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.kubelet.support import Containerd, Json, Node, pod

from weft.cluster.kubelet import probes
from weft.cluster.kubelet.probes import Grpc
from weft.cluster.kubelet.station import Pod


def script(text: str, **more: Any) -> Json:
    return {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", text], **more}


def namespace(kind: str) -> str:
    return str(Path(f"/proc/self/ns/{kind}").readlink())


def ended(status: Json) -> Json | None:
    for each in status.get("containerStatuses", ()):
        for state in (each["state"], each["lastState"]):
            if "terminated" in state:
                found: Json = state["terminated"]
                return found
    return None


def limit_of(node: Node, containerd: Containerd, name: str, controller: str, file: str) -> str:
    worker = node.pods.find("default", name)
    assert worker is not None
    inside = f"{containerd.cgroup.lstrip('/')}/poduid-{name}/{worker.seen.latest()['main'].id}"
    return (Path("/sys/fs/cgroup") / controller / inside / file).read_text().strip()


async def test_a_debug_container_sees_the_processes_of_its_target_and_runs_once(node: Node) -> None:
    web = pod("debugged", script("exec -a findme sleep 1000", command=["sleep", "1000"]))
    node.pods.apply(web)
    await node.ready("debugged")
    changed = copy.deepcopy(web)
    changed["spec"]["ephemeralContainers"] = [
        {
            "name": "debugger",
            "image": "busybox:1.36",
            "command": ["sh", "-c", "cat /proc/1/cmdline; exit 3"],
            "targetContainerName": "main",
        }
    ]
    node.pods.apply(changed)

    def over(status: Json) -> bool:
        return any("terminated" in each["state"] for each in status.get("ephemeralContainerStatuses", ()))

    status = await node.until("debugged", over)
    found = status["ephemeralContainerStatuses"][0]
    assert found["name"] == "debugger"
    assert found["state"]["terminated"]["exitCode"] == 3
    log = node.station.logs / "default_debugged_uid-debugged" / "debugger" / "0.log"
    assert b"sleep\x001000" in log.read_bytes()
    await asyncio.sleep(0.5)
    worker = node.pods.find("default", "debugged")
    assert worker is not None
    assert len(worker.seen.of("debugger")) == 1
    assert node.memory.statuses["debugged"]["phase"] == "Running"


async def test_a_new_image_restarts_its_container_alone_whatever_the_policy(node: Node) -> None:
    second = script("sleep 1000") | {"name": "other"}
    web = pod("changed", script("trap 'exit 0' TERM; sleep 1000 & wait"), second, restartPolicy="Never")
    node.pods.apply(web)
    before = await node.ready("changed")
    changed = copy.deepcopy(web)
    changed["spec"]["containers"][0]["image"] = "busybox:1.37"
    node.pods.apply(changed)
    after = await node.until(
        "changed",
        lambda status: (
            status["containerStatuses"][0]["restartCount"] == 1 and status["containerStatuses"][0]["ready"]
        ),
    )
    assert after["containerStatuses"][0]["image"] == "docker.io/library/busybox:1.37"
    assert after["containerStatuses"][1]["containerID"] == before["containerStatuses"][1]["containerID"]
    assert "Killing: Container main definition changed, will be restarted" in node.memory.told("changed")


async def test_a_pod_past_its_deadline_is_ended_and_says_so(node: Node) -> None:
    node.pods.apply(pod("late", script("sleep 1000"), activeDeadlineSeconds=2))
    status = await node.until("late", lambda status: status.get("phase") == "Failed")
    assert status["reason"] == "DeadlineExceeded"
    assert status["message"] == "Pod was active on the node longer than the specified deadline"
    assert "terminated" in status["containerStatuses"][0]["state"]


async def test_containers_may_share_their_processes_and_the_nodes_ipc(node: Node) -> None:
    other = script("sleep 2000") | {"name": "other"}
    node.pods.apply(pod("shared", script("sleep 1000"), other, shareProcessNamespace=True, hostIPC=True))
    await node.ready("shared")
    processes = await node.run("shared", "main", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "sleep 1000" in processes
    assert "sleep 2000" in processes
    assert (await node.run("shared", "main", "readlink", "/proc/self/ns/ipc")).strip() == namespace("ipc")


async def test_a_pod_on_the_nodes_processes_and_network_sees_them(node: Node) -> None:
    aliases = [{"ip": "10.1.2.3", "hostnames": ["far", "farther"]}]
    node.pods.apply(pod("host", script("sleep 1000"), hostNetwork=True, hostPID=True, hostAliases=aliases))
    status = await node.ready("host")
    assert status["podIP"] == "192.168.49.2"
    for space in ("net", "pid"):
        seen = await node.run("host", "main", "readlink", f"/proc/self/ns/{space}")
        assert seen.strip() == namespace(space)
    assert "10.1.2.3\tfar\tfarther" in await node.run("host", "main", "cat", "/etc/hosts")


async def test_a_pod_may_be_called_by_its_whole_name(node: Node) -> None:
    long = {"setHostnameAsFQDN": True, "subdomain": "x" * 60}
    node.pods.apply(pod("named", script("sleep 1000"), setHostnameAsFQDN=True, subdomain="web"))
    node.pods.apply(pod("too-long", script("sleep 1000"), **long))
    await node.ready("named")
    assert (await node.run("named", "main", "hostname")).strip() == "named.web.default.svc.cluster.local"
    async with asyncio.timeout(5):
        while not any("FQDN" in each for each in node.memory.told("too-long")):
            await asyncio.sleep(0.05)
    assert any("(64 characters is the max, " in each for each in node.memory.told("too-long"))


async def test_the_last_words_of_a_failure_come_from_its_log_where_the_policy_says_so(node: Node) -> None:
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    node.pods.apply(pod("fell", script("echo first; echo last; exit 1", **policy), restartPolicy="Never"))
    node.pods.apply(pod("fine", script("echo first; echo last", **policy), restartPolicy="Never"))
    failed = ended(await node.until("fell", ended))
    fine = ended(await node.until("fine", ended))
    assert failed is not None
    assert fine is not None
    assert failed["message"] == "first\nlast\n"
    assert "message" not in fine


async def test_a_container_that_takes_too_much_memory_is_killed_for_that(node: Node) -> None:
    hog = script("exec tail /dev/zero", resources={"limits": {"memory": "32Mi", "cpu": "500m"}})
    node.pods.apply(pod("hog", hog, restartPolicy="Never"))
    status = await node.until("hog", ended, 30)
    found = ended(status)
    assert found is not None
    assert (found["reason"], found["exitCode"]) == ("OOMKilled", 137)


async def test_limits_are_the_containers_cgroups(node: Node, containerd: Containerd) -> None:
    resources = {"requests": {"cpu": "250m"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
    node.pods.apply(pod("limited", script("sleep 1000", resources=resources)))
    await node.ready("limited")
    assert limit_of(node, containerd, "limited", "cpu", "cpu.shares") == "256"
    assert limit_of(node, containerd, "limited", "cpu", "cpu.cfs_quota_us") == "50000"
    assert limit_of(node, containerd, "limited", "memory", "memory.limit_in_bytes") == str(64 << 20)


async def test_new_limits_reach_a_running_container_without_a_restart(node: Node, containerd: Containerd) -> None:
    limits = {"limits": {"cpu": "500m", "memory": "64Mi"}}
    web = pod("resized", script("sleep 1000", resources=limits))
    node.pods.apply(web)
    before = await node.ready("resized")
    changed = copy.deepcopy(web)
    changed["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1", "memory": "96Mi"}}
    node.pods.apply(changed)
    after = await node.until(
        "resized", lambda status: status["containerStatuses"][0]["resources"]["limits"]["memory"] == "96Mi"
    )
    async with asyncio.timeout(5):
        while limit_of(node, containerd, "resized", "memory", "memory.limit_in_bytes") != str(96 << 20):
            await asyncio.sleep(0.05)
    assert limit_of(node, containerd, "resized", "cpu", "cpu.cfs_quota_us") == "100000"
    assert after["containerStatuses"][0]["containerID"] == before["containerStatuses"][0]["containerID"]


async def test_a_group_without_a_user_and_the_runtimes_seccomp_profile_are_taken(node: Node) -> None:
    context = {"runAsGroup": 3000, "supplementalGroups": [4000], "seccompProfile": {"type": "RuntimeDefault"}}
    node.pods.apply(pod("grouped", script("sleep 1000"), securityContext=context))
    await node.ready("grouped")
    assert (await node.run("grouped", "main", "id", "-u")).strip() == "0"
    assert (await node.run("grouped", "main", "id", "-g")).strip() == "3000"
    assert "4000" in (await node.run("grouped", "main", "id", "-G")).split()
    assert "Seccomp:\t2" in await node.run("grouped", "main", "grep", "Seccomp:", "/proc/1/status")


async def test_a_hook_may_sleep_and_a_sysctl_is_set(node: Node) -> None:
    hook = {"postStart": {"sleep": {"seconds": 1}}}
    sysctls = {"sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "40000 50000"}]}
    node.pods.apply(pod("slow", script("sleep 1000", lifecycle=hook), securityContext=sysctls))
    await node.ready("slow")
    value = await node.run("slow", "main", "cat", "/proc/sys/net/ipv4/ip_local_port_range")
    assert value.split() == ["40000", "50000"]


async def test_a_sysctl_that_reaches_beyond_the_pod_is_refused_in_kubernetes_words(node: Node) -> None:
    sysctls = {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}
    node.pods.apply(pod("unsafe", script("sleep 1000"), securityContext=sysctls))
    status = await node.until("unsafe", lambda status: status.get("phase") == "Failed")
    assert status["reason"] == "SysctlForbidden"
    assert status["message"] == 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'
    await asyncio.sleep(0.1)
    assert node.memory.told("unsafe") == ['SysctlForbidden: forbidden sysctl: "kernel.msgmax" not allowlisted']
    assert await node.station.runtime.sandboxes("uid-unsafe") == []


async def test_the_resolver_is_the_pods_own_where_it_says_so(node: Node) -> None:
    options = [{"name": "ndots", "value": "2"}]
    config = {"nameservers": ["10.9.8.7"], "searches": ["here.example"], "options": options}
    node.pods.apply(pod("dns", script("sleep 1000"), dnsPolicy="None", dnsConfig=config))
    await node.ready("dns")
    lines = (await node.run("dns", "main", "cat", "/etc/resolv.conf")).splitlines()
    assert lines == ["search here.example", "nameserver 10.9.8.7", "options ndots:2"]


async def test_a_grpc_probe_asks_the_health_service_and_says_what_is_wrong() -> None:
    helper = (sys.executable, "-m", "tests.cluster.kubelet.grpc_health")
    process = await asyncio.create_subprocess_exec(*helper, stdout=asyncio.subprocess.PIPE)
    written, _ = await process.communicate()
    whole, named, without, gone = written.decode().splitlines()
    assert whole == "whole: "
    assert named == 'named: service unhealthy (responded with "NOT_SERVING")'
    assert without.startswith("without: error: this server does not implement the grpc health protocol")
    assert gone.startswith('gone: error: failed to connect service "127.0.0.1:PORT"')


def test_a_probe_may_be_grpc() -> None:
    assert probes.check({"grpc": {"port": 9000, "service": "x"}}, {}, "10.0.0.1") == Grpc("10.0.0.1", 9000, "x")


async def test_a_name_that_is_no_images_is_told_apart_from_a_failed_pull(node: Node) -> None:
    node.pods.apply(pod("wrong", {"name": "main", "image": "Nginx:1"}))
    status = await node.until(
        "wrong", lambda status: status and _waiting(status).get("reason") == "InvalidImageName"
    )
    assert 'Failed to apply default image tag "Nginx:1"' in _waiting(status)["message"]
    why = 'couldn\'t parse image name "Nginx:1": invalid reference format: repository name (library/Nginx) must be'
    assert any(
        told.startswith("InspectFailed: Failed to apply") and why in told for told in node.memory.told("wrong")
    )
    assert "Failed: Error: InvalidImageName" in node.memory.told("wrong")


async def test_a_command_that_is_not_there_shows_before_it_becomes_a_back_off(node: Node) -> None:
    node.pods.apply(pod("none", {"name": "main", "image": "busybox", "command": ["/not/there"]}))
    status = await node.until(
        "none", lambda status: status and _waiting(status).get("reason") == "RunContainerError"
    )
    assert "/not/there" in _waiting(status)["message"]
    later = await node.until("none", lambda status: _waiting(status).get("reason") == "CrashLoopBackOff")
    ended = later["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")


def _waiting(status: Json) -> Json:
    found: Json = status["containerStatuses"][0]["state"].get("waiting") or {}
    return found


async def test_a_seccomp_profile_of_the_node_is_put_on_and_a_missing_one_is_told(node: Node) -> None:
    folder = node.station.folder / "seccomp"
    folder.mkdir(exist_ok=True)
    (folder / "no-mkdir.json").write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
            }
        )
    )
    for name, profile in (("held", "no-mkdir.json"), ("lost", "nope.json")):
        context = {"seccompProfile": {"type": "Localhost", "localhostProfile": profile}}
        node.pods.apply(pod(name, script("sleep 1000", securityContext=context)))
    await node.ready("held")
    assert "Operation not permitted" in await node.run("held", "main", "mkdir", "/x")
    status = await node.until("lost", lambda status: status and "message" in _waiting(status))
    assert _waiting(status)["reason"] == "CreateContainerError"
    assert "nope.json" in _waiting(status)["message"]


async def test_a_runtime_class_chooses_the_handler(node: Node) -> None:
    node.pods.apply(pod("usual", script("sleep 1000"), runtimeClassName="runc"))
    node.pods.apply(pod("unknown", script("sleep 1000"), runtimeClassName="gvisor"))
    await node.ready("usual")
    async with asyncio.timeout(15):
        while not any('no runtime for "gvisor" is configured' in told for told in node.memory.told("unknown")):
            await asyncio.sleep(0.05)
    assert any(told.startswith("FailedCreatePodSandBox: ") for told in node.memory.told("unknown"))


async def test_a_start_hook_that_fails_is_told_as_such(node: Node) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "exit 1"]}}}
    node.pods.apply(pod("hooked", script("sleep 1000", lifecycle=hook)))
    await node.until("hooked", lambda status: status and _waiting(status).get("reason") == "PostStartHookError")
    await node.until("hooked", lambda status: _waiting(status).get("reason") == "CrashLoopBackOff")


async def test_a_short_command_that_is_waited_for_is_told_to_be_over_and_never_to_run(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    told = node.memory.patch_status

    async def patch_status(pod_: Pod, patch: Json) -> None:
        seen.append(str(patch.get("phase", "")))
        await told(pod_, patch)

    monkeypatch.setattr(node.memory, "patch_status", patch_status)  # to see every patch, and not the last alone
    node.pods.apply(pod("short", script("echo hi", stdin=True, stdinOnce=True), restartPolicy="Never"))
    node.pods.apply(pod("long", script("cat", stdin=True, stdinOnce=True), restartPolicy="Never"))
    await node.until("short", lambda status: status.get("phase") == "Succeeded")
    assert "Running" not in seen
    await node.ready("long")


async def test_a_privileged_container_may_join_any_pod(node: Node) -> None:
    web = pod("plain", script("sleep 1000"))
    node.pods.apply(web)
    await node.ready("plain")
    debugged = copy.deepcopy(web)
    debugged["spec"]["ephemeralContainers"] = [
        script("sleep 1000") | {"name": "debugger", "securityContext": {"privileged": True}}
    ]
    node.pods.apply(debugged)
    await node.until("plain", lambda status: _debugger(status).get("running"))
    assert "0000003f" in await node.run("plain", "debugger", "grep", "CapEff", "/proc/1/status") or "1ff" in (
        await node.run("plain", "debugger", "grep", "CapEff", "/proc/1/status")
    )


def _debugger(status: Json) -> Json:
    found: Json = (status.get("ephemeralContainerStatuses") or [{"state": {}}])[0]["state"]
    return found


async def test_a_container_starts_anew_for_the_limits_that_its_resize_policy_names(
    node: Node, containerd: Containerd
) -> None:
    policy = [
        {"resourceName": "cpu", "restartPolicy": "NotRequired"},
        {"resourceName": "memory", "restartPolicy": "RestartContainer"},
    ]
    limits = {"limits": {"cpu": "500m", "memory": "64Mi"}}
    web = pod("renewed", script("sleep 1000", resources=limits, resizePolicy=policy))
    node.pods.apply(web)
    await node.ready("renewed")
    for cpu, memory, restarts in (("1", "64Mi", 0), ("1", "96Mi", 1)):
        web = copy.deepcopy(web)
        web["spec"]["containers"][0]["resources"] = {"limits": {"cpu": cpu, "memory": memory}}
        node.pods.apply(web)
        await node.until(
            "renewed",
            lambda status, restarts=restarts: (  # type: ignore[misc]  # bound now
                status["containerStatuses"][0]["restartCount"] == restarts
                and status["containerStatuses"][0]["ready"]
            ),
        )
        async with asyncio.timeout(10):
            while limit_of(node, containerd, "renewed", "cpu", "cpu.cfs_quota_us") != "100000":
                await asyncio.sleep(0.05)
    assert limit_of(node, containerd, "renewed", "memory", "memory.limit_in_bytes") == str(96 << 20)
    assert "Killing: Container main resize requires restart" in node.memory.told("renewed")
