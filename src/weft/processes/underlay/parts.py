"""The plugins of a node, put together: what answers each type, and what works behind them."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from weft.adapters.cni_program import Programs
from weft.processes.underlay.choosing import Chooser
from weft.processes.underlay.coordinating import Cluster, Coordinator, annotations_by
from weft.processes.underlay.definitions import Definitions
from weft.processes.underlay.delegating import Delegator
from weft.processes.underlay.ifacing import Ifacer
from weft.processes.underlay.ipam import Ipam
from weft.processes.underlay.meta import Meta
from weft.processes.underlay.plugins import COORDINATOR, IFACER, MULTUS, SPIDERPOOL, Plugin, Surroundings
from weft.processes.underlay.tidying import Tidier


@dataclass(frozen=True, slots=True)
class Parts:
    """`plugins` by type; `works` is to be run for ever, each as a task."""

    chooser: Chooser
    plugins: Mapping[str, Plugin]
    works: tuple[Callable[[], Coroutine[Any, Any, None]], ...]


def assembled(around: Surroundings, now: Callable[[], datetime]) -> Parts:
    """All parts of the node process that answer calls."""
    settings, places = around.settings, around.settings.places
    definitions, cluster = Definitions(around.kube), Cluster(around.kube, settings.coordinator)
    chooser, ipam = Chooser(settings, definitions), Ipam(around, now)
    ours: Mapping[str, Plugin] = {
        SPIDERPOOL: ipam,
        COORDINATOR: Coordinator(lambda: cluster.current, annotations_by(around.pods)),
        IFACER: Ifacer(),
    }
    delegator = Delegator(ours, Programs(places.root, places.bin_dir), places.run_dir)
    meta = Meta(around, chooser, delegator, ours)
    return Parts(
        chooser, {MULTUS: meta, **ours}, (definitions.run, cluster.run, ipam.run, Tidier(around, meta).run)
    )
