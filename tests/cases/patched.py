"""A case's resources one by one, and what EnvoyFilters made of them."""

from typing import Any, Final

from google.protobuf import json_format
from tests.cases.engine import Case

from weft.api.envoy_messages import PREFIX, class_of, required
from weft.xds.generate import Generator
from weft.xds.resource import BOOTSTRAP, CLUSTER, EXTENSION, LISTENER, ROUTE

_TYPES: Final = {
    "listener": LISTENER,
    "route": ROUTE,
    "cluster": CLUSTER,
    "extension": EXTENSION,
    "bootstrap": BOOTSTRAP,
}
_MANAGER: Final = "envoy.filters.network.http_connection_manager"


def resource(case: Case, kind: str, name: str) -> dict[str, Any] | None:
    """A resource as Envoy's JSON, None if there is none of that name."""
    url = _TYPES[kind]
    found = Generator().resources(case.view).get(url, {}).get(name)
    if found is None:
        return None
    return json_format.MessageToDict(required(url.removeprefix(PREFIX)).FromString(found.body))


def filter_chains(case: Case, listener: str) -> list[str]:
    """The names of a listener's filter chains."""
    found = resource(case, "listener", listener)
    return [each["name"] for each in (found or {}).get("filterChains", ())]


def http_filters(case: Case, listener: str) -> list[str]:
    """The names of the HTTP filters in the first chain of a listener that has any."""
    message = required(LISTENER.removeprefix(PREFIX)).FromString(
        Generator().resources(case.view)[LISTENER][listener].body
    )
    for chain in message.filter_chains:
        for each in chain.filters:
            if each.name == _MANAGER:
                kind = class_of(each.typed_config)
                assert kind is not None
                return [inner.name for inner in kind.FromString(each.typed_config.value).http_filters]
    return []
