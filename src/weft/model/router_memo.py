"""What gateways are to do, kept for as long as nothing that it depends on has changed."""

from dataclasses import dataclass, field
from typing import Any

from weft.model.clients import Client
from weft.model.resolution import Directory, http_routes
from weft.model.router import Router
from weft.model.router_view import Edge, RoutesOf, router
from weft.model.routing import HttpRoute
from weft.model.routing_rule import RoutingRule
from weft.model.view import ServiceView

_MAX_EDGES = 1024

Routes = tuple[HttpRoute, ...]


@dataclass(slots=True)
class _Known:
    """The last answer for a class of gateways, and the routes of each rule in it with what they come from."""

    directory: Directory
    services: tuple[ServiceView, ...] = ()
    inputs: tuple[Any, ...] = ()
    router: Router | None = None
    routes: dict[tuple[str, int, str], tuple[tuple[Any, ...], Routes]] = field(default_factory=dict)


class RouterMemo:
    """Remembers the last answer for each class of gateway pods, across snapshots."""

    def __init__(self) -> None:
        self._known: dict[Edge, _Known] = {}

    def __call__(self, edge: Edge, directory: Directory, services: tuple[ServiceView, ...]) -> Router:
        """What this class of gateways is to do; the same object for as long as it is the same."""
        last = self._known.get(edge) or _Known(directory)
        if last.router is not None and last.directory is directory and last.services is services:
            return last.router
        inputs = _inputs(edge, directory)
        if last.router is not None and last.inputs == inputs and not last.router.automatic:
            last.directory, last.services = directory, services
            return last.router
        known = _Known(directory, services, inputs)
        found = router(edge, directory, services, _remembering(last, known, edge.client, directory))
        known.router = last.router if last.router == found else found
        if len(self._known) >= _MAX_EDGES:
            self._known.clear()
        self._known[edge] = known
        return known.router or found


def _remembering(last: _Known, known: _Known, client: Client, directory: Directory) -> RoutesOf:
    """Resolve the routes of a rule, or take those of last time where nothing that they name has changed."""

    def routes_of(rule: RoutingRule, port: int, gateway: str) -> Routes:
        key, inputs = (rule.full_name, port, gateway), (rule, *_named(rule, directory))
        kept = last.routes.get(key)
        if kept is None or kept[0] != inputs:
            kept = (inputs, http_routes(rule, port, client, directory, gateway))
        known.routes[key] = kept
        return kept[1]

    return routes_of


def _inputs(edge: Edge, directory: Directory) -> tuple[Any, ...]:
    """All that a router's routes are made of: endpoints are not among it, so that they may come and go."""
    bound = directory.virtual_services.bound
    rules = tuple(rule for each in edge.gateways for rule in bound(each.path, edge.client.namespace))
    return (rules, tuple(_named(rule, directory) for rule in rules))


def _named(rule: RoutingRule, directory: Directory) -> tuple[Any, ...]:
    """What a rule's destinations are looked up in."""
    found = (directory.services.get(target) for target in sorted(rule.targets))
    listings = tuple(None if each is None else each.listing for each in found)
    return (directory.destination_rules, listings, directory.mesh.retries)
