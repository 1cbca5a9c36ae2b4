"""What gateways are to do, kept for as long as nothing that it depends on has changed."""

from typing import Any

from weft.model.resolution import Directory
from weft.model.router import Router
from weft.model.router_view import Edge, router
from weft.model.view import ServiceView

_MAX_EDGES = 1024


class RouterMemo:
    """Remembers the last answer for each class of gateway pods, across snapshots."""

    def __init__(self) -> None:
        self._known: dict[Edge, tuple[tuple[Any, ...], Router]] = {}

    def __call__(self, edge: Edge, directory: Directory, services: tuple[ServiceView, ...]) -> Router:
        """What this class of gateways is to do; the same object for as long as it is the same."""
        inputs = _inputs(edge, directory)
        known = self._known.get(edge)
        if known is not None and known[0] == inputs and not known[1].automatic:
            return known[1]
        found = router(edge, directory, services)
        if known is not None and known[1] == found:
            found = known[1]
        if len(self._known) >= _MAX_EDGES:
            self._known.clear()
        self._known[edge] = (inputs, found)
        return found


def _inputs(edge: Edge, directory: Directory) -> tuple[Any, ...]:
    """All that a router's routes are made of: endpoints are not among it, so that they may come and go."""
    bound = directory.virtual_services.bound
    rules = tuple(rule for each in edge.gateways for rule in bound(each.path, edge.client.namespace))
    targets = sorted({target for rule in rules for target in rule.targets})
    found = (directory.services.get(target) for target in targets)
    listings = tuple(None if each is None else each.listing for each in found)
    return (rules, directory.destination_rules, listings, directory.mesh.retries)
