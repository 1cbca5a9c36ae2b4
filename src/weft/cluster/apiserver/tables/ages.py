"""Durations in kubectl's short form: two figures at most, ever coarser (apimachinery, util/duration)."""

from datetime import UTC, datetime, timedelta

UNKNOWN = "<unknown>"
INVALID = "<invalid>"


def human_duration(length: timedelta) -> str:
    """`45s`, `4m57s`, `115m`, `5h3m`, `26h`, `5d8h`, `400d`, `3y40d`."""
    seconds = int(length.total_seconds())
    if seconds < 0:
        # clocks of two machines may differ a little: one second is forgiven
        return "0s" if seconds >= -1 else INVALID
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"


def moment(text: object) -> datetime | None:
    """An RFC 3339 time out of an object; none where it is missing or no time."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def age(text: object, now: datetime) -> str:
    """How long ago an RFC 3339 time was; `<unknown>` where there is none."""
    found = moment(text)
    return human_duration(now - found) if found else UNKNOWN
