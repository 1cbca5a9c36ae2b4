"""What the node process's plugins are: a call in, a CNI result or nothing out, CallError where it fails."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from weft.adapters.kube.client import Kube
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.telling import Teller
from weft.processes.underlay.settings import Settings

Json = dict[str, Any]

MULTUS: Final = "multus"
SPIDERPOOL: Final = "spiderpool"
COORDINATOR: Final = "coordinator"
IFACER: Final = "ifacer"
TYPES: Final = (MULTUS, SPIDERPOOL, COORDINATOR, IFACER)
"""Types of plugins that we answer, which are names of programs, too."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one plugin.

    `netns` is a path that opens here, and `sandbox` the path as the runtime named it, which is what results say;
    both are "" where the runtime gave none (DEL). `namespace`, `name` and `uid` are the pod's; `uid` may be "".
    `config` is the plugin's own configuration, with `ipam`, `runtimeConfig` and `prevResult` (as 1.0.0 has it).
    """

    command: str
    container_id: str
    ifname: str
    netns: str
    sandbox: str
    namespace: str
    name: str
    uid: str
    config: Mapping[str, Any]

    @property
    def subject(self) -> str:
        """What the call is about, for messages."""
        return f"pod {self.namespace}/{self.name}" if self.name else "no pod of Kubernetes"


class Plugin(Protocol):
    """What answers the calls of one type."""

    async def add(self, call: Call) -> Json:
        """Do it, and give the result in the form of 1.0.0."""

    async def delete(self, call: Call) -> None:
        """Take away what ADD made, as far as it is there."""

    async def check(self, call: Call) -> None:
        """Fail where what ADD made is not so any more."""

    async def gc(self, call: Call) -> None:
        """Take away what belongs to none of `config["cni.dev/valid-attachments"]`."""

    async def status(self, call: Call) -> None:
        """Fail where ADD could not be done now."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all plugins of a node have. `monotonic` gives seconds."""

    settings: Settings
    kube: Kube
    pods: Pods
    teller: Teller
    registry: Registry
    monotonic: Callable[[], float]
