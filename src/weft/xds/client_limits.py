"""Timeouts and retries that the application asks for itself, by headers of its requests.

Envoy obeys such headers from internal clients only, and takes none for internal whose address it has not learned
from x-forwarded-for. The application beside the proxy is internal for sure: its headers are carried past that
check under other names.
"""

from typing import Any

from weft.xds import encode
from weft.xds.proto import (
    base_pb2,
    early_header_mutation_pb2,
    extension_pb2,
    header_mutation_pb2,
    mutation_rules_pb2,
)

HEADERS = (
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-max-retries",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
)


def before_the_check() -> Any:
    """The early mutation that saves the headers."""
    saved = [_copy(header, _carrier(header)) for header in HEADERS]
    message = early_header_mutation_pb2.HeaderMutation(mutations=saved)
    name = "envoy.http.early_header_mutation.header_mutation"
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=encode.packed(message))


def after_the_check() -> Any:
    """The HTTP filter's configuration that puts them back."""
    mutations = []
    for header in HEADERS:
        mutations.append(_copy(_carrier(header), header))
        mutations.append(mutation_rules_pb2.HeaderMutation(remove=_carrier(header)))
    return header_mutation_pb2.HeaderMutation(mutations=header_mutation_pb2.Mutations(request_mutations=mutations))


def _carrier(header: str) -> str:
    return header.replace("x-envoy-", "x-weft-client-")


def _copy(source: str, target: str) -> Any:
    """Set `target` to the value of `source`; nothing happens where that is absent."""
    option = base_pb2.HeaderValueOption
    append = option(
        header=base_pb2.HeaderValue(key=target, value=f"%REQ({source})%"),
        append_action=option.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return mutation_rules_pb2.HeaderMutation(append=append)
