"""The time."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The current moment, aware, in UTC."""
    return datetime.now(UTC)


def elapsed() -> float:
    """Seconds since the machine was started, those in which it slept among them: nobody sets this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
