"""Cron schedules: five fields or a word such as `@daily`, in a time zone."""

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_EVERY = re.compile(r"(\d+(?:\.\d+)?)(h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_LONGEST = 2**63 / 1e9  # seconds that a Go duration holds
_OPEN = frozenset({"*", "?", "*/1", "?/1"})
_HORIZON = 5  # years without a fitting day: there is none (30 February)


class ScheduleError(ValueError):
    """A schedule that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes, hours, days, months and weekdays that fit; or a steady interval (`@every 90m`)."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    """Whether days or weekdays are left open, so that both must fit; otherwise either is enough."""
    zone: ZoneInfo
    every: timedelta | None = None

    def after(self, moment: datetime) -> datetime | None:
        """The first time after `moment`, in UTC; None if there never is one."""
        if self.every:
            return (moment + self.every).replace(microsecond=0).astimezone(UTC)
        local = moment.astimezone(self.zone).replace(tzinfo=None, second=0, microsecond=0) + timedelta(minutes=1)
        last = local.year + _HORIZON
        while local.year <= last:
            if local.month not in self.months:
                local = _next_month(local)
            elif not self._fits(local):
                local = local.replace(hour=0, minute=0) + timedelta(days=1)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in self.minutes or (found := self._real(local)) is None or found <= moment:
                local += timedelta(minutes=1)
            else:
                return found
        return None

    def _fits(self, day: datetime) -> bool:
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month and in_week if self.any_day else in_month or in_week

    def _real(self, local: datetime) -> datetime | None:
        """The moment at which clocks there show this; None for an hour that summer time skips."""
        moment = local.replace(tzinfo=self.zone).astimezone(UTC)
        return moment if moment.astimezone(self.zone).replace(tzinfo=None) == local else None


def parse(text: str, zone: str = "") -> Schedule:
    """Read a schedule as a CronJob holds it. Raises ScheduleError, in the words of Kubernetes' own parser."""
    try:
        where = ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleError(f"unknown time zone {zone}") from error
    if not text:
        raise ScheduleError("empty spec string")
    if text.startswith("@every "):
        nothing = frozenset[int]()
        return Schedule(nothing, nothing, nothing, nothing, nothing, True, where, _interval(text))  # noqa: FBT003
    if text.startswith("@") and text not in _WORDS:
        raise ScheduleError(f"unrecognized descriptor: {text}")
    fields = _WORDS.get(text, text).split()
    if len(fields) != 5:
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    minutes, hours, days, months, weekdays = fields
    return Schedule(
        minutes=_field(minutes, 0, 59, {}),
        hours=_field(hours, 0, 23, {}),
        days=_field(days, 1, 31, {}),
        months=_field(months, 1, 12, _MONTHS),
        weekdays=_field(weekdays, 0, 6, _DAYS),
        any_day=bool({days, weekdays} & _OPEN),
        zone=where,
    )


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    values: set[int] = set()
    for part in filter(None, text.split(",")):
        values |= _range(part, low, high, names)
    return frozenset(values)


def _range(part: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    span, *steps = part.split("/")
    ends = span.split("-")
    if ends[0] in {"*", "?"}:
        start, end = low, high
    elif len(ends) > 2:
        raise ScheduleError(f"too many hyphens: {part}")
    else:
        start = _number(ends[0], names)
        end = _number(ends[1], names) if len(ends) == 2 else start
    if len(steps) > 1:
        raise ScheduleError(f"too many slashes: {part}")
    stride = _number(steps[0], {}) if steps else 1
    if steps and len(ends) == 1:
        end = high  # `5/15` counts from 5 to the end
    if start < low:
        raise ScheduleError(f"beginning of range ({start}) below minimum ({low}): {part}")
    if end > high:
        raise ScheduleError(f"end of range ({end}) above maximum ({high}): {part}")
    if start > end:
        raise ScheduleError(f"beginning of range ({start}) beyond end of range ({end}): {part}")
    if not stride:
        raise ScheduleError(f"step of range should be a positive number: {part}")
    return set(range(start, end + 1, stride))


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ScheduleError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 0:
        raise ScheduleError(f"negative number ({int(text)}) not allowed: {text}")
    return int(text)


def _interval(text: str) -> timedelta:
    given = text.removeprefix("@every ")
    parts = _EVERY.findall(given)
    if not parts or "".join(number + unit for number, unit in parts) != given:
        raise ScheduleError(f'failed to parse duration {text}: time: invalid duration "{given}"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST:
        raise ScheduleError(f"failed to parse duration {text}: time: invalid duration")
    return timedelta(seconds=max(1, int(seconds)))


def _next_month(local: datetime) -> datetime:
    first = local.replace(day=1, hour=0, minute=0)
    return (first + timedelta(days=32)).replace(day=1)
