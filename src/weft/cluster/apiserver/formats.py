"""The formats of strings that schemas may ask for (`kube-openapi/pkg/validation/strfmt`)."""

import base64
import binascii
import re
import uuid
from collections.abc import Callable
from datetime import date, datetime
from ipaddress import IPv4Address, IPv6Address, ip_interface
from urllib.parse import urlsplit

from weft.cluster.apiserver import names
from weft.cluster.apiserver.cel.values import read_duration

_HOST = re.compile(
    r"([a-zA-Z0-9_]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?)(\.[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*"
)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})")
_UNITS = re.compile(
    r"\s*(\d+(\.\d+)?\s*(nanoseconds?|nanos?|ns|microseconds?|micros?|us|µs|milliseconds?|millis?|ms|seconds?|secs?|s"
    r"|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|wks?|w)\s*)+"
)


def _reads(read: Callable[[str], object]) -> Callable[[str], bool]:
    def fits_it(text: str) -> bool:
        try:
            read(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return fits_it


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _version(number: int) -> Callable[[str], bool]:
    fits_uuid = _reads(uuid.UUID)
    return lambda text: fits_uuid(text) and uuid.UUID(text).version == number


def _moment(text: str) -> bool:
    return bool(_MOMENT.fullmatch(text)) and _reads(datetime.fromisoformat)(text.upper())


def _uri(text: str) -> bool:
    return _reads(urlsplit)(text) and (bool(urlsplit(text).scheme) or text.startswith("/"))


_FORMATS: dict[str, Callable[[str], bool]] = {
    "byte": _reads(lambda text: base64.b64decode(text, validate=True)),
    "cidr": lambda text: "/" in text and _reads(ip_interface)(text),
    "date": lambda text: len(text) == 10 and _reads(date.fromisoformat)(text),
    "date-time": _moment,
    "datetime": _moment,
    "duration": lambda text: read_duration(text) is not None or _UNITS.fullmatch(text) is not None,
    "email": _matches(r"[^@\s]+@[^@\s]+"),
    "hexcolor": _matches(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "hostname": lambda text: len(text) <= 255 and _HOST.fullmatch(text) is not None,
    "ipv4": _reads(IPv4Address),
    "ipv6": _reads(IPv6Address),
    "k8s-long-name": lambda text: not names.subdomain(text),
    "k8s-short-name": lambda text: not names.label(text),
    "mac": _matches(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}|([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}"),
    "uri": _uri,
    "uuid": _reads(uuid.UUID),
    "uuid3": _version(3),
    "uuid4": _version(4),
    "uuid5": _version(5),
}


def fits(text: str, name: str) -> bool:
    """Whether a text has the format; formats that nobody knows fit."""
    judge = _FORMATS.get(name)
    return judge is None or judge(text)
