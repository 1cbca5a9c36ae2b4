"""Lists as kubectl shows them: `meta.k8s.io/v1` Tables, made by the server so that all kubectls agree."""

from weft.cluster.apiserver.tables.ages import age, human_duration
from weft.cluster.apiserver.tables.render import Include, table

__all__ = ["Include", "age", "human_duration", "table"]
