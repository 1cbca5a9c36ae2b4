"""A real API server with namespaces and pods, in this process."""

import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.cluster.apiserver.servers import make_home

from weft.adapters import clock
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import NAMESPACES, PODS, SERVICEACCOUNTS
from weft.cluster.apiserver.serving import serve
from weft.cluster.apiserver.world import World

NODE = "worker"
Json = dict[str, Any]


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Kube]:
    """An API server with the namespace `shop`; its kubeconfig is `folder / "kubeconfig"`."""
    home = make_home(folder)
    async with serve(home.settings, World(clock.now, random.Random())), Kube(home.access) as kube:
        await kube.create(NAMESPACES, {"metadata": {"name": "shop"}})
        await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "shop"}})
        yield kube


async def create(kube: Kube, name: str, annotations: Json | None = None, *, node: str = NODE, **spec: Any) -> Json:
    """A pod of `shop`, bound to a node."""
    pod = {
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations or {}},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "app"}], **spec},
    }
    return await kube.create(PODS, pod)
