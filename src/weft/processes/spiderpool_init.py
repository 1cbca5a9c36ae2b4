"""`weft spiderpool-init`: makes the default SpiderCoordinator and pools, as soon as they can be made."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from weft.adapters.kube.access import Access, AccessError
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import kind_of

Json = dict[str, Any]

OBJECTS = "SPIDERPOOL_INIT_OBJECTS"
MANAGER = "spiderpool-init"
_PATIENCE_SECONDS = 300.0
_PAUSE_SECONDS = 0.2


def main(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """0 when all is made; 1 with a line on stderr, and who runs us tries again."""
    if argv not in ([], ()):
        sys.stderr.write(f"weft spiderpool-init: it takes no arguments; {OBJECTS} has what is to be made.\n")
        return 1
    try:
        objects = msgspec.json.decode(environment.get(OBJECTS, "[]"), type=list[Json])
        asyncio.run(_make(_access(environment), objects))
    except (AccessError, ApiError, aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
        sys.stderr.write(f"weft spiderpool-init: {error or 'the API server did not take it in time'}\n")
        return 1
    return 0


def _access(environment: Mapping[str, str]) -> Access:
    if named := environment.get("KUBECONFIG"):
        return Access.from_kubeconfig(Path(named))
    return Access.in_cluster(
        environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "443")
    )


async def _make(access: Access, objects: Sequence[Json]) -> None:
    async with Kube(access) as kube, asyncio.timeout(_PATIENCE_SECONDS):
        for obj in objects:
            await _apply(kube, obj)


async def _apply(kube: Kube, obj: Json) -> None:
    """Own the fields that the operator chose, and no others: what users set beside them stays."""
    kind = kind_of(obj)
    name, said = obj["metadata"]["name"], ""
    while True:
        try:
            await kube.apply(kind, obj, manager=MANAGER)
        except (ApiError, aiohttp.ClientError, OSError) as error:
            if isinstance(error, ApiError) and error.code in {400, 403, 422} and "webhook" not in error.message:
                raise
            # its definition is not served yet, or the controller, which checks it, does not answer yet
            if str(error) != said:
                said = str(error)
                sys.stderr.write(f"{obj['kind']} {name} waits: {said}\n")
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            sys.stderr.write(f"{obj['kind']} {name} is there\n")
            return
