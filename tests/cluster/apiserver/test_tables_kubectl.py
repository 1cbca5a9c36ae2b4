"""Tables as real kubectls print them: the outputs are the walkthrough's."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from weft.cluster.apiserver import discovery
from weft.cluster.apiserver.catalog import BUILT_IN
from weft.cluster.apiserver.tables import table

ROOT = Path(__file__).parents[3]
KUBECTLS = {"1.20": ROOT / ".tools/kubectl-1.20/kubectl", "newest": ROOT / ".tools/kubectl-newest/kubectl"}
POD = next(kind for kind in BUILT_IN if kind.plural == "pods")
NOW = datetime(2022, 1, 3, 15, 0, 0, tzinfo=UTC)


def ago(**delta: float) -> str:
    return (NOW - timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def canary(name: str, ip: str, created: str, version: str) -> dict[str, Any]:
    running = {"ready": True, "restartCount": 0, "state": {"running": {}}}
    labels = {"app": "canary", "version": version}
    meta = {"name": name, "namespace": "canary", "creationTimestamp": created, "labels": labels}
    spec = {"nodeName": "minikube", "containers": [{"name": "canary"}, {"name": "istio-proxy"}]}
    status = {"phase": "Running", "podIPs": [{"ip": ip}], "containerStatuses": [running, running]}
    return {"metadata": meta, "spec": spec, "status": status}


PODS = [
    canary("canary-v1-69ddb8864b-rq6ln", "10.244.0.6", ago(minutes=11), "v1"),
    canary("canary-v2-69b48c89b7-h87vk", "10.244.0.8", ago(minutes=3, seconds=2), "v2"),
]
WIDE = """\
NAME                         READY   STATUS    RESTARTS   AGE    IP           NODE       NOMINATED NODE   \
READINESS GATES
canary-v1-69ddb8864b-rq6ln   2/2     Running   0          11m    10.244.0.6   minikube   <none>           <none>
canary-v2-69b48c89b7-h87vk   2/2     Running   0          3m2s   10.244.0.8   minikube   <none>           <none>
"""
NARROW = """\
NAME                         READY   STATUS    RESTARTS   AGE
canary-v1-69ddb8864b-rq6ln   2/2     Running   0          11m
canary-v2-69b48c89b7-h87vk   2/2     Running   0          3m2s
"""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        match request.path:
            case "/api":
                return web.json_response(discovery.api_versions())
            case "/apis":
                return web.json_response(discovery.api_group_list([]))
            case "/api/v1":
                return web.json_response(discovery.resource_list(BUILT_IN, "", "v1"))
            case _:
                return web.json_response(table(POD, PODS, NOW))

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def kubectl(version: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        KUBECTLS[version], "--kubeconfig=/dev/null", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    return out.decode()


@pytest.mark.parametrize("version", list(KUBECTLS))
async def test_kubectl_prints_the_walkthroughs_table(url: str, tmp_path: Path, version: str) -> None:
    common = (f"--server={url}", f"--cache-dir={tmp_path}", "-n=canary")
    assert await kubectl(version, "get", "po", *common) == NARROW
    assert await kubectl(version, "get", "po", "-owide", *common) == WIDE
    labelled = await kubectl(version, "get", "po", "--show-labels", *common)
    assert "app=canary,version=v2" in labelled.splitlines()[2]
