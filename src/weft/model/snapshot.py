"""Everything the mesh knew at one moment, unchangeable."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.base.problem import Problem
from weft.model import analysis, authorization_analysis, peer_analysis, sidecar_analysis, token_analysis
from weft.model.ingresses import NOTHING, Derived
from weft.model.kubernetes import Workload
from weft.model.mesh_config import MeshConfig
from weft.model.registry import Key
from weft.model.resolution import Directory
from weft.model.view_memo import ViewMemo


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The state behind all views. `revision` grows with every change; two snapshots of one revision are the same.

    `reported` are the problems of single objects; `derived` is what Ingresses amount to; `memo` keeps views that
    did not change since.
    """

    revision: int
    directory: Directory
    workloads: Mapping[Key, Workload]
    label_keys: frozenset[str]
    reported: tuple[Problem, ...]
    domain: str
    mesh: MeshConfig
    memo: ViewMemo = field(repr=False)
    derived: Derived = NOTHING

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that users can mend, in stable order. Worked out anew at each call."""
        pods = tuple(self.workloads.values())
        kinds = (analysis, authorization_analysis, peer_analysis, sidecar_analysis, token_analysis)
        between = (each for kind in kinds for each in kind.problems(self.directory, pods))
        return analysis.ordered((*self.reported, *map(self.derived.told, between)))
