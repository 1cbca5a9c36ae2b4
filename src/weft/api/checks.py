"""Checks that several resources share. Each gives problems and never raises."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta

from weft.api import codes
from weft.api.report import Report
from weft.api.virtual_service import StringMatch
from weft.base.durations import parse_duration
from weft.base.names import host_fault, is_dns_label
from weft.base.problem import Problem
from weft.base.regex import RegexError, compiled

_SHORTEST = timedelta(milliseconds=1)
_LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
_BEYOND = re.compile(r"\(\?(?:=|!|<=|<!|>)|\\[1-9]|[*+?}]\+")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", re.ASCII)


def check_host(host: str, field: str, report: Report, *, wildcard: bool) -> Iterator[Problem]:
    """A host must be a DNS name, or with `wildcard` also `*` and `*.x`."""
    fault = host_fault(host, wildcard=wildcard)
    if fault:
        wild = ", or a wildcard such as *.example.com" if wildcard else ""
        yield report.error(field, f"{fault}.", f"Write a service's name or a full host name{wild}.")


def check_duration(text: str | None, field: str, report: Report, *, zero: bool = False) -> Iterator[Problem]:
    """A duration must be 1 ms or more; with `zero`, 0 is allowed as well."""
    if text is None:
        return
    try:
        duration = parse_duration(text)
    except ValueError as error:
        yield report.error(field, f"{error}.", "Write a number with a unit: 1h, 1m, 2s, 250ms.")
        return
    if duration < _SHORTEST and not (zero and not duration):
        yield report.error(field, f'"{text}" is too short.', "Use 1ms or more.")


def check_regex(pattern: str, field: str, report: Report) -> Iterator[Problem]:
    """A pattern must be one that RE2 takes, with which Envoy matches."""
    try:
        compiled(pattern)
    except RegexError as error:
        message = f'"{pattern}" is not a regular expression: {error}.'
        hint = (
            "Envoy's RE2 has no look-around, back-references and possessive repeats."
            if _BEYOND.search(pattern)
            else "Envoy takes RE2 syntax; see https://github.com/google/re2/wiki/Syntax."
        )
        yield report.error(field, message, hint, codes.BAD_REGEX)


def check_export_to(export_to: tuple[str, ...], field: str, report: Report) -> Iterator[Problem]:
    """Each entry is `*`, `.`, `~` or a namespace."""
    for index, each in enumerate(export_to):
        if each not in {"*", ".", "~"} and not is_dns_label(each):
            hint = 'Write "*", "." or the name of a namespace.'
            yield report.error(f"{field}[{index}]", f'"{each}" is not a namespace.', hint)


def check_labels(labels: Mapping[str, str], field: str, report: Report) -> Iterator[Problem]:
    """Labels must be ones that a pod can have."""
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            yield report.error(
                field, f'"{key}" cannot be the key of a label.', "Copy the key from the pod's labels."
            )
        if not _LABEL_VALUE.fullmatch(value):
            hint = "Copy the value from the pod's labels."
            yield report.error(f"{field}.{key}", f'"{value}" cannot be the value of a label.', hint)


def check_comparison(match: StringMatch, field: str, report: Report, *, presence: bool) -> Iterator[Problem]:
    """A comparison must be one of its kinds; with `presence`, none at all asks only that there is a value."""
    ways = {"exact": match.exact, "prefix": match.prefix, "regex": match.regex}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        yield report.error(field, f"{' and '.join(given)} exclude each other.", "Keep one of them.")
    if not given and not presence:
        yield report.error(field, "says not how to compare.", "Add exact, prefix or regex.")
    if match.prefix == "" and not presence:
        yield report.error(
            f"{field}.prefix", "the prefix is empty.", 'Write one, or take the match out ("/" is all).'
        )
    if match.regex is not None:
        if not match.regex:
            yield report.error(
                f"{field}.regex", "the expression is empty.", "Write one, or .* for all.", codes.BAD_REGEX
            )
        yield from check_regex(match.regex, f"{field}.regex", report)
