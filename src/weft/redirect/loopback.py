"""What stays within the pod."""

from ipaddress import IPv6Network
from typing import Final

from weft.redirect.capture import Capture, Network

LOOPBACK: Final = "lo"


def loopbacks(capture: Capture) -> tuple[Network, ...]:
    """The addresses of localhost, one network for each version."""
    return (capture.loopback, IPv6Network("::1/128"))
