"""Changes of headers, as Envoy takes them."""

import re
from collections.abc import Iterator
from typing import Final

from weft.api.faults import key_path
from weft.api.report import Report
from weft.api.virtual_service import HeaderChanges, Headers
from weft.base.names import is_header_name, nearest
from weft.base.problem import Problem

COMMAND: Final = re.compile(r"%(?:%|([A-Z0-9_]+)(?:\(.*?\))?(?::\d+)?%)?")
"""One of Envoy's operators, %% or a percent sign that begins none."""
COMMANDS: Final = frozenset({
    "BYTES_RECEIVED", "BYTES_SENT", "CEL", "CLUSTER_METADATA", "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS", "DOWNSTREAM_DIRECT_LOCAL_ADDRESS", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_PORT", "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN", "DOWNSTREAM_PEER_CERT", "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START", "DOWNSTREAM_PEER_FINGERPRINT_1", "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER", "DOWNSTREAM_PEER_SERIAL", "DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER", "DOWNSTREAM_TLS_SESSION_ID", "DOWNSTREAM_TLS_VERSION", "DURATION",
    "DYNAMIC_METADATA", "ENVIRONMENT", "FILTER_STATE", "GRPC_STATUS", "HOSTNAME", "METADATA", "PATH",
    "PROTOCOL", "QUERY_PARAM", "REQ", "REQUESTED_SERVER_NAME", "REQUEST_DURATION", "RESP", "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS", "RESPONSE_DURATION", "RESPONSE_FLAGS", "ROUTE_NAME", "START_TIME", "STREAM_ID",
    "TRACE_ID", "TRAILER", "UPSTREAM_CLUSTER", "UPSTREAM_HOST", "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_METADATA", "UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "VIRTUAL_CLUSTER_NAME",
})  # fmt: skip
"""Envoy's command operators that headers may hold."""
_HOST: Final = frozenset({"host", ":authority"})


def check_headers(headers: Headers | None, field: str, report: Report) -> Iterator[Problem]:
    """Give what is wrong with changes of a request's and a response's headers."""
    for side in ("request", "response"):
        changes: HeaderChanges | None = getattr(headers, side, None)
        if changes is None:
            continue
        here = f"{field}.{side}"
        for name, value in changes.set.items():
            yield from _entry(name, value, key_path(f"{here}.set", name), report, host=side == "request")
        for name, value in changes.add.items():
            yield from _entry(name, value, key_path(f"{here}.add", name), report, host=side == "request")
        for index, name in enumerate(changes.remove):
            yield from _name(name, f"{here}.remove[{index}]", report)


def _entry(name: str, value: str, field: str, report: Report, *, host: bool) -> Iterator[Problem]:
    if not (host and name.lower() in _HOST):
        yield from _name(name, field, report)
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        hint = "Write the value in one line."
        yield report.error(field, "the value has characters that no header can have.", hint)
    for found in COMMAND.finditer(value):
        command = found[1]
        if found[0] == "%":
            hint = "Write %% for a percent sign, or a command such as %REQ(x-id)%."
            yield report.error(field, f'"{value}" has a percent sign that begins no command.', hint)
        elif command and command not in COMMANDS:
            near = nearest(command, COMMANDS)
            hint = f"Did you mean %{near}%?" if near else "Write %% for a percent sign."
            yield report.error(field, f'"{found[0]}" is not a command of Envoy.', hint)


def _name(name: str, field: str, report: Report) -> Iterator[Problem]:
    if name.lower() in _HOST or name.startswith(":"):
        hint = "Write rewrite: {authority: …}, or set Host in the request's headers."
        yield report.error(field, f'"{name}" cannot be changed so.', hint)
    elif not is_header_name(name):
        yield report.error(field, f'"{name}" cannot be the name of a header.', "Use letters, digits and dashes.")
