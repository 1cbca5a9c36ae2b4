"""ClusterRoles that are the sum of others, by label."""

from collections.abc import Iterable

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import CLUSTERROLES, Kind
from weft.cluster.apiserver import rules
from weft.cluster.controllers.changes import Patch, Plan
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, key_of


class Aggregation(Controller):
    """Keeps the rules of each role that has an aggregationRule."""

    name = "clusterrole-aggregation-controller"
    watches: tuple[Kind, ...] = (CLUSTERROLES,)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:  # noqa: ARG002, any role may be part
        """Every sum, whichever role changed."""
        return [key_of(role) for role in world.of(CLUSTERROLES) if role.get("aggregationRule")]

    def plan(self, key: Key, world: World) -> Plan:
        """Write the sum over what is there."""
        roles = world.of(CLUSTERROLES)
        role = roles.get(key)
        if role is None or not role.get("aggregationRule"):
            return Plan()
        wanted = rules.aggregated(role, roles)
        if wanted == (role.get("rules") or []):
            return Plan()
        return Plan([Patch(CLUSTERROLES, role, {"rules": wanted})])
