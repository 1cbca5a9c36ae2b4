"""Secrets from somebody else's SDS (SPIRE's agent, say) on a socket mounted into the pod: passed on to Envoy.

Envoy goes on asking its own agent, which asks there: so files of the pod are served beside, the end of what is
served is known, and whoever serves may come and go.
"""

import asyncio
import logging
import random
from pathlib import Path
from typing import Final

from weft.adapters import sds_client, sds_server
from weft.adapters.sds_client import NotServedError
from weft.pki import credentials
from weft.pki.credentials import CredentialError
from weft.processes.agent.file_secrets import CERTIFICATE, ROOT
from weft.processes.agent.identity import pause
from weft.xds import secrets
from weft.xds.names import TRUST_ROOTS, WORKLOAD_CERTIFICATE
from weft.xds.resource import SECRET, Resource

_log = logging.getLogger("weft.agent.identity")
_OTHERS: Final = (CERTIFICATE, ROOT, "kubernetes:")


class ExternalSecrets:
    """Keeps what Envoy asks for as the socket has it. `node` is the proxy's id."""

    def __init__(self, socket: Path, served: sds_server.Secrets, node: str) -> None:
        self._socket = socket
        self._served = served
        self._node = node
        self._said = ""

    async def run(self) -> None:
        """Follow the workload's own secrets, and whatever else Envoy asks for, without end."""
        _log.info("certificates come from %s; this agent makes none", self._socket)
        followed = {WORKLOAD_CERTIFICATE, TRUST_ROOTS}
        async with asyncio.TaskGroup() as streams:
            for name in sorted(followed):
                streams.create_task(self._follow(name))
            while True:
                asked = self._served.asked
                new = {each for each in self._served.names - followed if not each.startswith(_OTHERS)}
                followed |= new
                for name in sorted(new):
                    streams.create_task(self._follow(name))
                await asked.wait()

    async def _follow(self, name: str) -> None:
        failures = 0
        while True:
            try:
                async for secret in sds_client.follow(self._socket, name, self._node, _trouble):
                    failures = 0
                    self._said = ""
                    self._served.publish(secret)
                    _log.info("%s gave %s", self._socket, name)
            except NotServedError as error:
                failures += 1
                self._say(str(error))
            await asyncio.sleep(pause(max(failures, 1), random.random()))  # noqa: S311 -- jitter, not a secret

    def _say(self, trouble: str) -> None:
        """Log a trouble once, however long it lasts and whichever name it is about."""
        if not self._socket.exists():
            trouble = "there is no such socket"
        if trouble != self._said:
            self._said = trouble
            _log.error(
                "%s does not serve certificates, trying again: %s. Check who serves it (SPIRE's agent on this "
                "node), and that this pod is registered there; without that volume certificates come from istiod",
                self._socket,
                trouble,
            )


def _trouble(body: bytes) -> str:
    """What keeps a secret from being of use; Envoy is not troubled with it."""
    held = secrets.contents(Resource(SECRET, "", "", body))
    try:
        if held.chain or held.key:
            credentials.pair(held.chain, held.key)
        if held.roots:
            credentials.roots(held.roots)
    except CredentialError as error:
        return str(error)
    return ""
