"""Lines for requests and connections (MeshConfig, accessLogFile, accessLogFormat, accessLogEncoding)."""

import json
from typing import Any, Final

from google.protobuf import struct_pb2

from weft.model.mesh_config import AccessLog
from weft.xds import encode
from weft.xds.proto import accesslog_pb2, base_pb2, file_log_pb2, stream_log_pb2, substitution_format_string_pb2

JSON: Final = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
}
"""Istio's fields."""

TEXT: Final = (
    '[{start_time}] "{method} {path} {protocol}" {response_code} {response_flags} {response_code_details} '
    '{connection_termination_details} "{upstream_transport_failure_reason}" {bytes_received} {bytes_sent} '
    '{duration} {upstream_service_time} "{x_forwarded_for}" "{user_agent}" "{request_id}" "{authority}" '
    '"{upstream_host}" {upstream_cluster} {upstream_local_address} {downstream_local_address} '
    "{downstream_remote_address} {requested_server_name} {route_name}\n"
).format_map(JSON)
"""Istio's line."""

_STREAMS: Final = {
    "/dev/stdout": ("envoy.access_loggers.stdout", stream_log_pb2.StdoutAccessLog),
    "/dev/stderr": ("envoy.access_loggers.stderr", stream_log_pb2.StderrAccessLog),
}
"""By the stream itself: a container's user may not open its stdout by path."""
NO_ROUTE: Final = "NR"


def logger(log: AccessLog, *, only: str = "", asked: str = "") -> Any:
    """An AccessLog to `log.file`; with `only`, of what has that response flag.

    `asked` is an expression of CEL for the policy by which a provider was asked last, empty where none is.
    """
    name, message = _STREAMS.get(log.file, ("envoy.access_loggers.file", None))
    config = file_log_pb2.FileAccessLog(path=log.file) if message is None else message()
    config.log_format.CopyFrom(_format(log, asked))
    found = accesslog_pb2.AccessLog(name=name, typed_config=encode.packed(config))
    if only:
        found.filter.response_flag_filter.flags.append(only)
    return found


def _format(log: AccessLog, asked: str) -> Any:
    lines = substitution_format_string_pb2.SubstitutionFormatString()
    if log.json:
        fields = struct_pb2.Struct()
        fields.update(json.loads(_with_policy(log.format or json.dumps(JSON), asked)))
        lines.json_format.CopyFrom(fields)
    else:
        text = _with_policy(log.format or TEXT, asked)
        lines.text_format_source.CopyFrom(base_pb2.DataSource(inline_string=text))
    return lines


def _with_policy(text: str, asked: str) -> str:
    """The format with the policy behind a provider's denial, as RBAC itself says its own."""
    if not asked:
        return text
    # Envoy's CEL joins no texts: so each piece is one of its own
    denied = "has(response.code_details) && response.code_details.startsWith('ext_authz_')"
    pieces = ("'_matched_policy['", asked, "']'")
    told = "".join(f"%CEL({denied} ? ({each}) : '')%" for each in pieces)
    return text.replace("%RESPONSE_CODE_DETAILS%", f"%RESPONSE_CODE_DETAILS%{told}")
