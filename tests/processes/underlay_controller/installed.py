"""The controller as a process of its own, with the rights that it is installed with, beside a real API server."""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from tests.cluster.apiserver.servers import Home, Kubectl, free_port, make_home

from weft.adapters import clock
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import VALIDATINGWEBHOOKS, kind_of
from weft.cluster import controllers
from weft.cluster.apiserver.serving import serve
from weft.cluster.apiserver.world import World
from weft.install import underlay_rights, underlay_webhooks
from weft.install.underlay_crds import underlay_crds

Json = dict[str, Any]
T = TypeVar("T")
NAME = "spiderpool-controller"
NAMESPACE = "kube-system"


@dataclass
class Installed:
    """A cluster with the controller in it."""

    kube: Kube
    kubectl: Kubectl
    log: Path


@contextlib.asynccontextmanager
async def installed(folder: Path, *more: str, objects: tuple[Json, ...] = ()) -> AsyncIterator[Installed]:
    """A cluster with these objects, in which the controller is ready."""
    home = make_home(folder)
    async with (
        serve(home.settings, World(clock.now, random.Random())),
        Kube(home.access) as kube,
        _controlled(kube, home),
    ):
        ports = [free_port() for _ in range(3)]
        for each in (*underlay_crds(), *_manifests(ports[2]), *objects):
            await kube.create(kind_of(each), each)
        log = folder / "controller.log"
        with log.open("wb") as output, _process(_kubeconfig(home), ports, more, output) as process:
            cluster = Installed(kube, Kubectl(home), log)
            await until(lambda: _is_ready(cluster, process))
            yield cluster
        assert "orbidden" not in log.read_text()


async def until(condition: Callable[[], Awaitable[T | None]], seconds: float = 60) -> T:
    """What a condition gives once it is true."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.05)
    return found


async def get(kube: Kube, kind: Any, name: str, namespace: str = "") -> Json | None:
    """An object, if it is there."""
    try:
        return await kube.get(kind, name, namespace)
    except ApiError as error:
        if error.code != 404:
            raise
        return None


def _manifests(port: int) -> list[Json]:
    labels = {"app": NAME}
    webhooks = underlay_webhooks.configurations(NAME, NAMESPACE, port, labels, injects=True)
    for each in webhooks:
        for webhook in each["webhooks"]:
            path = webhook["clientConfig"].pop("service")["path"]
            webhook["clientConfig"]["url"] = f"https://127.0.0.1:{port}{path}"
    return [*underlay_rights.controller(NAME, NAMESPACE, labels), *webhooks]


def _kubeconfig(home: Home) -> Path:
    """Who the controller is: its account, by a certificate of that name."""
    home.authority.issue(NAME, f"system:serviceaccount:{NAMESPACE}:{NAME}")
    config = yaml.safe_load((home.path / "kubeconfig").read_text())
    config["users"][0]["user"] = {
        "client-certificate": str(home.path / "pki" / f"{NAME}.crt"),
        "client-key": str(home.path / "pki" / f"{NAME}.key"),
    }
    path = home.path / "controller.kubeconfig"
    path.write_text(json.dumps(config))
    return path


@contextlib.contextmanager
def _process(kubeconfig: Path, ports: list[int], more: tuple[str, ...], output: Any) -> Any:
    names = ("spiderpool-health-port", "spiderpool-metric-http-port", "spiderpool-webhook-port")
    given = [word for name, port in zip(names, ports, strict=True) for word in (f"--{name}", str(port))]
    process = subprocess.Popen(
        [sys.executable, "-m", "weft", NAME, "--kubeconfig", str(kubeconfig), *given, *more],
        stdout=output,
        stderr=output,
        env={key: value for key, value in os.environ.items() if not key.startswith("SPIDERPOOL_")},
    )
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(30) == 0


async def _is_ready(cluster: Installed, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, cluster.log.read_text()
    found = await get(cluster.kube, VALIDATINGWEBHOOKS, NAME)
    return all(each["clientConfig"].get("caBundle") for each in (found or {})["webhooks"])


@contextlib.asynccontextmanager
async def _controlled(kube: Kube, home: Home) -> AsyncIterator[None]:
    running = asyncio.create_task(
        controllers.run(kube, clock=clock.now, volumes=home.path / "volumes", signing=home.signing)
    )
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
