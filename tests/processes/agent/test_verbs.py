"""The verbs behind `weft agent`."""

import asyncio
import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from tests.processes.agent.conftest import Pod
from tests.processes.agent.istiod import Istiod, eventually

from weft.processes.agent import proxy


async def agent(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "weft", "agent", *argv]
        return subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=30, check=False
        )

    return await asyncio.to_thread(run)


async def test_request_prints_what_envoys_admin_interface_says(running: Pod) -> None:
    port = str(running.ports["admin"])
    done = await agent("request", "GET", "/config_dump?resource=dynamic_listeners", ENVOY_ADMIN_PORT=port)
    assert done.returncode == 0, done.stderr
    names = [one["name"] for one in json.loads(done.stdout)["configs"]]
    assert names == [f"127.0.0.1_{running.listener}"]


async def test_request_fails_where_envoy_refuses_or_is_not_there(running: Pod) -> None:
    port = str(running.ports["admin"])
    done = await agent("request", "GET", "/nothing", ENVOY_ADMIN_PORT=port)
    assert done.returncode == 1
    assert "404" in done.stderr
    done = await agent("request", "GET", "/stats", ENVOY_ADMIN_PORT="1")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr


async def test_wait_returns_when_the_sidecar_is_ready_and_not_before(pod: Pod, istiod: Istiod) -> None:
    config = json.dumps({"statusPort": pod.ports["status"]})
    done = await agent("wait", "--timeoutSeconds=0.3", PROXY_CONFIG=config)
    assert done.returncode == 1
    assert "not ready after 0.3 s" in done.stderr
    pod.start(istiod.address)
    done = await agent("wait", "--timeoutSeconds", "20", PROXY_CONFIG=config)
    assert done.returncode == 0, done.stderr
    await eventually(pod.ready)


async def test_an_unknown_verb_is_answered_with_the_verbs_there_are() -> None:
    done = await agent("dance")
    assert done.returncode == 2
    assert "proxy sidecar|router" in done.stderr


@pytest.mark.parametrize("role", ["sidecar", "router"])
async def test_outside_a_pod_the_proxy_says_what_is_missing(role: str) -> None:
    done = await agent("proxy", role)
    assert done.returncode == 1
    assert "istio-podinfo" in done.stderr


def test_the_agent_tells_the_version_of_this_distribution() -> None:
    assert version("weft") == proxy.VERSION
