"""How long a request may take that is no watch and no stream: a minute, or less where it says so (`timeout=`)."""

import math
import re
from collections.abc import Mapping

from weft.cluster.apiserver import errors

LONGEST = 60.0
"""Seconds; the API server's own (`--request-timeout`)."""
_DURATION = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(query: Mapping[str, str]) -> float:
    """What a request's query allows; 400 where its `timeout` is no duration as Go writes them."""
    text = query.get("timeout", "")
    if text in {"", "0"}:
        return LONGEST
    if not _DURATION.fullmatch(text):
        why = f"invalid timeout specified in the request URL - time: invalid duration {_quoted(text)}"
        raise errors.bad_request(why)
    wanted = math.fsum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    return min(wanted, LONGEST) if wanted and not text.startswith("-") else LONGEST


def _quoted(text: str) -> str:
    return '"' + text[:100].replace("\\", "\\\\").replace('"', '\\"') + '"'


def passed() -> errors.StatusError:
    """504: the time is up."""
    return errors.StatusError(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
