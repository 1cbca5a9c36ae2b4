"""Certificates that a node's proxy gets on behalf of the workloads on its node, as ztunnel does.

Such a proxy could speak for anyone, so it is let to speak for whom it has at hand: it must run as an account that
is named beforehand, by a token bound to a pod that is there, and a pod of the account that it asks for must be on
the same node. Whoever takes a node over has what runs there anyway, and no more.
"""

import logging
from typing import Any

import aiohttp
import grpc

from weft.adapters.grpc_server import RefusedError
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import PODS
from weft.pki import identity
from weft.pki.identity import SpiffeId
from weft.processes.controlplane.identities import Caller

NODE_ACCOUNTS = "CA_TRUSTED_NODE_ACCOUNTS"

log = logging.getLogger("weft.ca")

Account = tuple[str, str]
"""A namespace, and the name of a service account in it."""


class NodeProxies:
    """Judges who may speak for whom. `trusted` are the accounts of node proxies."""

    def __init__(self, kube: Kube, trusted: frozenset[Account]) -> None:
        self._kube, self._trusted = kube, trusted

    async def identity(self, caller: Caller, wanted: str) -> SpiffeId:
        """The identity that a caller asks for in another's place; RefusedError where it may not."""
        own = caller.identity
        if (own.namespace, own.service_account) not in self._trusted:
            raise _refused(caller, wanted, f"its account is not among {NODE_ACCOUNTS}")
        named = identity.parse(wanted)
        if named is None or named.trust_domain != own.trust_domain:
            raise _refused(caller, wanted, f"that is no workload of {own.trust_domain}")
        try:
            node = await self._node(caller, wanted)
            fields = f"spec.nodeName={node}"
            pods = await self._kube.list(PODS, named.namespace, fields=fields)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            raise RefusedError(grpc.StatusCode.UNAVAILABLE, f"the cluster could not be asked: {error}") from error
        if not any(_runs_as(pod, named.service_account, node) for pod in pods):
            raise _refused(caller, wanted, f"no pod of that account is on its node {node}")
        return named

    async def _node(self, caller: Caller, wanted: str) -> str:
        """The node of the caller's pod."""
        if not caller.pod or not caller.pod_uid:
            raise _refused(caller, wanted, "its token is bound to no pod")
        try:
            pod = await self._kube.get(PODS, caller.pod, caller.identity.namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            raise _refused(caller, wanted, f"its pod {caller.pod} is gone") from error
        node = str((pod.get("spec") or {}).get("nodeName") or "")
        same = pod["metadata"].get("uid") == caller.pod_uid
        if not same or not _runs_as(pod, caller.identity.service_account, node) or not node:
            raise _refused(caller, wanted, f"its pod {caller.pod} is gone")
        return node


def _runs_as(pod: Any, account: str, node: str) -> bool:
    spec = pod.get("spec") or {}
    over = (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
    return not over and (spec.get("serviceAccountName"), spec.get("nodeName")) == (account, node)


def _refused(caller: Caller, wanted: str, reason: str) -> RefusedError:
    message = f"{caller.identity} may not speak for {wanted[:200]!r}: {reason}"
    log.warning("%s", message)
    return RefusedError(grpc.StatusCode.PERMISSION_DENIED, message)
