"""Networks of SpiderMultusConfigs: each has the NetworkAttachmentDefinition that it asks for."""

import asyncio
import logging
from collections.abc import Mapping

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import NETWORKATTACHMENTS, SPIDERMULTUSCONFIGS
from weft.api.network_attachment import NetworkAttachmentDefinition
from weft.api.spider_multus_config import SpiderMultusConfig
from weft.processes.cni.telling import Teller
from weft.processes.underlay_controller import working
from weft.processes.underlay_controller.following import Followed
from weft.underlay.networks.attachments import Create, Mend, Remove, Step, Tell, plan

log = logging.getLogger("weft.underlay.networks.asked")


class Networks:
    """Give `run` a task."""

    def __init__(
        self,
        kube: Kube,
        configs: Followed[SpiderMultusConfig],
        attachments: Followed[NetworkAttachmentDefinition],
        teller: Teller,
    ) -> None:
        self._kube, self._teller = kube, teller
        self._wake = asyncio.Event()
        self._configs, self._attachments = configs.wake(self._wake), attachments.wake(self._wake)
        self._told: Mapping[str, Tell] = {}

    async def run(self) -> None:
        """Make and mend, for ever."""
        await self._configs.synced.wait()
        await self._attachments.synced.wait()
        await working.keep("networks", self._wake, self._look)

    async def _look(self) -> None:
        found = self._attachments.all
        told: dict[str, Tell] = {}
        due: list[tuple[SpiderMultusConfig, Step]] = []
        for config in self._configs.all:
            near = [each for each in found if each.metadata.namespace == config.metadata.namespace]
            for step in plan(config, near):
                if isinstance(step, Tell):
                    told[config.metadata.uid] = step
                else:
                    due.append((config, step))
        self._tell(told)
        await working.each(due, self._do)

    async def _do(self, due: tuple[SpiderMultusConfig, Step]) -> None:
        config, step = due
        where = f"{config.metadata.namespace}/{config.metadata.name}"
        match step:
            case Create(manifest):
                await self._kube.create(NETWORKATTACHMENTS, manifest)
                log.info("network %s: made %s", where, manifest["metadata"]["name"])
            case Mend(manifest, because):
                await self._kube.replace(NETWORKATTACHMENTS, manifest)
                log.info("network %s: mended %s, since %s", where, manifest["metadata"]["name"], because)
            case Remove(name, uid):
                await self._kube.delete(NETWORKATTACHMENTS, name, config.metadata.namespace, uid=uid)
                log.info("network %s: removed %s, which is its name no longer", where, name)

    def _tell(self, told: Mapping[str, Tell]) -> None:
        """Tell what is new, as Events of the SpiderMultusConfig."""
        for config in self._configs.all:
            step = told.get(config.metadata.uid)
            if step is None or self._told.get(config.metadata.uid) == step:
                continue
            meta = config.metadata
            owner = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
            log.warning("network %s/%s: %s", meta.namespace, meta.name, step.message)
            self._teller.tell({"metadata": owner}, step.reason, step.message, kind=SPIDERMULTUSCONFIGS)
        self._told = told
