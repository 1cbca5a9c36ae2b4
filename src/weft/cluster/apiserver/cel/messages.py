"""Moments and durations as the engine takes them. Late imports: protobuf's weight comes with the first rule."""

from datetime import datetime, timedelta
from typing import Any


def duration(value: timedelta) -> Any:
    """A `google.protobuf.Duration`."""
    from google.protobuf.duration_pb2 import Duration

    return Duration(seconds=value // timedelta(seconds=1), nanos=value.microseconds * 1000)


def moment(value: datetime) -> Any:
    """A `google.protobuf.Timestamp`."""
    from google.protobuf.timestamp_pb2 import Timestamp

    found = Timestamp()
    found.FromDatetime(value)
    return found
