"""Headers by which proxies tell each other things, taken out first of all where nobody may be believed in them.

Envoy itself takes out those that command it (`x-envoy-retry-on` and the like) unless the client is its own.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from weft.xds import encode
from weft.xds.proto import early_header_mutation_pb2, extension_pb2, mutation_rules_pb2

_HEADER: Any = mutation_rules_pb2.HeaderMutation

PEER: Final = ("x-envoy-peer-metadata", "x-envoy-peer-metadata-id")
"""Who the other workload is, in Istio's meshes. Ours tell it by certificates alone, so it is always a claim."""

OUTSIDE: Final = (
    *PEER,
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-external-address",
    "x-envoy-original-dst-host",
    "x-envoy-original-host",
    "x-envoy-original-method",
    "x-envoy-original-path",
)
"""What only a proxy of the mesh can know: nobody outside of it is believed."""


def take_out(manager: Any, names: Iterable[str], *, as_variables: bool = False) -> None:
    """Let a HttpConnectionManager do so before anything looks at a request.

    `as_variables`: with dashes or underscores; servers that tell headers as variables (CGI, WSGI) take x_user for
    x-user.
    """
    mutations = [_any_spelling(name) if as_variables and "-" in name else _HEADER(remove=name) for name in names]
    message = early_header_mutation_pb2.HeaderMutation(mutations=mutations)
    name = "envoy.http.early_header_mutation.header_mutation"
    extension = extension_pb2.TypedExtensionConfig(name=name, typed_config=encode.packed(message))
    manager.early_header_mutation_extensions.append(extension)


def _any_spelling(name: str) -> Any:
    mutation = _HEADER()
    mutation.remove_on_match.key_matcher.safe_regex.regex = "[-_]".join(map(re.escape, name.split("-")))
    return mutation
