"""Codes of problems. Istio's own where `istioctl analyze` has one, so that people can look them up."""

from typing import Final

DEPRECATED: Final = "IST0002"
NOT_FOUND: Final = "IST0101"
"""A missing host; a missing port or subset as well, as in Istio."""
SCHEMA: Final = "IST0106"
CONFLICTING_HOSTS: Final = "IST0109"
PORT_NEEDED: Final = "IST0112"
BAD_REGEX: Final = "IST0122"
UNREACHABLE: Final = "IST0130"
SCHEMA_WARNING: Final = "IST0133"
ADDRESSES_NEEDED: Final = "IST0134"
UNKNOWN_RULE_HOST: Final = "IST0174"

NOT_ACTED_ON: Final = "WEFT0001"
"""A field, kind or gateway that the mesh knows but does nothing about yet."""
KEPT_LAST_GOOD: Final = "WEFT0002"
"""The newest version of an object is invalid, so an older one stays in force."""
SHADOWED: Final = "WEFT0003"
"""A part of an object has no effect, because an older object goes before it."""
