"""How paths are made alike before they are matched (MeshConfig.pathNormalization)."""

from typing import Any

from weft.model.mesh_config import PathNormalization
from weft.xds.proto import http_connection_manager_pb2

_HCM: Any = http_connection_manager_pb2.HttpConnectionManager


def normalize(manager: Any, how: PathNormalization) -> None:
    """Tell a HttpConnectionManager how to treat `..`, `//` and `%2F` in paths."""
    manager.normalize_path.value = how is not PathNormalization.NONE
    manager.merge_slashes = how in {PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES}
    if how is PathNormalization.DECODE_AND_MERGE_SLASHES:
        manager.path_with_escaped_slashes_action = _HCM.UNESCAPE_AND_FORWARD
