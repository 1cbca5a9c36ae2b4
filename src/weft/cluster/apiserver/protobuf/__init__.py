"""Kubernetes' protobuf bodies as JSON objects.

kubectl since 1.32 sends the objects of `create` in this form and does not try JSON when refused.
"""

from weft.cluster.apiserver.protobuf.envelope import MEDIA_TYPE, decode
from weft.cluster.apiserver.protobuf.wire import ProtobufError

__all__ = ["MEDIA_TYPE", "ProtobufError", "decode"]
