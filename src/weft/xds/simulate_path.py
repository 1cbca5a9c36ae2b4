"""What a connection manager makes of a request's path before it looks for a route."""

import re
from typing import Any

from weft.xds.proto import http_connection_manager_pb2
from weft.xds.understood import NotUnderstoodError

_HCM: Any = http_connection_manager_pb2.HttpConnectionManager

_UNRESERVED = re.compile(r"%(2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aA]|5[fF]|6[1-9a-fA-F]|7[0-9aA]|7[eE])")
_UNSAFE = re.compile(r'[\x00-\x20"<>`{}^|\x7f-\U0010ffff]')


def path_seen(manager: Any, path: str) -> str | None:
    """The path that routes are matched against; None where the request is answered 400 instead.

    The query stays as it is (HttpConnectionManager.normalize_path, merge_slashes). No path may have a fragment.
    """
    if "#" in path:
        return None
    before, mark, query = path.partition("?")
    match manager.path_with_escaped_slashes_action:
        case _HCM.UNESCAPE_AND_FORWARD:
            before = re.sub("%2f", "/", re.sub("%5c", r"\\", before, flags=re.IGNORECASE), flags=re.IGNORECASE)
        case _HCM.IMPLEMENTATION_SPECIFIC_DEFAULT | _HCM.KEEP_UNCHANGED:
            pass
        case other:
            name = _HCM.PathWithEscapedSlashesAction.Name(other)
            raise NotUnderstoodError(f"the simulator does not understand path_with_escaped_slashes_action {name}")
    if manager.HasField("normalize_path") and manager.normalize_path.value:
        if "%00" in before:
            return None
        before = _normalized(before)
    if manager.merge_slashes:
        before = re.sub("/{2,}", "/", before)
    return before + mark + query


def _normalized(path: str) -> str:
    """RFC 3986 as browsers apply it: letters and digits decoded, backslashes turned, dot segments resolved."""
    path = _UNRESERVED.sub(lambda found: chr(int(found[1], 16)), path.replace("\\", "/"))
    path = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), path)
    segments: list[str] = []
    parts = path.split("/")[1:]
    for index, part in enumerate(parts):
        bare = part.partition(";")[0]  # some servers drop what is behind it
        if bare in {".", ".."}:
            if bare == ".." and segments:
                segments.pop()
            if index == len(parts) - 1:
                segments.append("")
        else:
            segments.append(part)
    return "/" + "/".join(segments)
