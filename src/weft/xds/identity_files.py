"""The mesh's own TLS with certificates in files of the pod, in place of those that the agent would obtain."""

from typing import Any

from weft.model.proxy_traits import NO_FILES, IdentityFiles
from weft.xds import encode, names
from weft.xds.proto import tls_pb2


def in_server(socket: Any, files: IdentityFiles) -> None:
    """Name the files in the transport socket of a filter chain."""
    _in_context(socket, tls_pb2.DownstreamTlsContext, files)


def in_client(socket: Any, files: IdentityFiles) -> None:
    """Name the files in the transport socket of a cluster."""
    _in_context(socket, tls_pb2.UpstreamTlsContext, files)


def _in_context(socket: Any, kind: Any, files: IdentityFiles) -> None:
    if files == NO_FILES or not socket.typed_config.Is(kind.DESCRIPTOR):
        return
    context = kind()
    socket.typed_config.Unpack(context)
    common = context.common_tls_context
    wanted = {}
    if files.chain:
        wanted[names.WORKLOAD_CERTIFICATE] = names.file_certificate(files.chain, files.key)
    if files.roots:
        wanted[names.TRUST_ROOTS] = names.file_roots(files.roots)
    for secret in (
        *common.tls_certificate_sds_secret_configs,
        common.validation_context_sds_secret_config,
        common.combined_validation_context.validation_context_sds_secret_config,
    ):
        if secret.name in wanted:
            secret.name = wanted[secret.name]
    socket.typed_config.CopyFrom(encode.packed(context))
