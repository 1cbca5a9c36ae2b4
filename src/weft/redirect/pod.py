"""What of a pod's traffic is captured, read from the pod as it was injected: Istio's redirect API."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from weft.base import texts
from weft.model import enrolment, interception
from weft.model.interception import AGENT_PORT, EXCLUDE_OUTBOUND_PORTS, MODE, MODES, STATUS_PORT, Listeners
from weft.redirect import flags
from weft.redirect.capture import Address, Capture

_OUTBOUND_FLAG: Final = "-p"
_INBOUND_FLAG: Final = "-z"


class RedirectError(ValueError):
    """A pod says something that cannot be honoured; the message names where and what would be right."""


def capture(pod: Mapping[str, Any], host: flags.Host = flags.NO_HOST) -> Capture:
    """The capture of a pod that has a sidecar, the same that `istio-init` would make in it.

    `host` is what is known of the pod's network and names. Without resolvers, queries to any are captured where
    the pod wants queries captured. Raises RedirectError.
    """
    return _command(pod, host).capture


def link_addresses(pod: Mapping[str, Any]) -> tuple[Address, ...]:
    """What the pod wants interfaces to have that would swallow what is redirected (VETH_LINK_ADDRESS)."""
    return _command(pod, flags.NO_HOST).link_addresses


def _command(pod: Mapping[str, Any], host: flags.Host) -> flags.Command:
    take = _Annotations((pod.get("metadata") or {}).get("annotations") or {})
    wanted = interception.read(take, take(MODE, MODES[0], texts.one_of(*MODES)))
    if not take.has(EXCLUDE_OUTBOUND_PORTS):
        # as Istio's plugin has it where nobody says otherwise: an agent's port is not the mesh's to carry
        wanted = replace(wanted, excluded_outbound_ports=str(AGENT_PORT))
    status_port = int(take(STATUS_PORT, str(AGENT_PORT), texts.port))
    argv = interception.arguments(wanted, interception.owner(pod), _listeners(pod), status_port)
    # the node's resolvers are not the pod's
    known = () if host.resolvers else ("--cni-mode",)
    proxy = enrolment.proxy(pod) or {}
    try:
        return flags.parse([*argv, *known], enrolment.environment(proxy), host)
    except flags.FlagError as error:
        # annotations are checked, so it is a variable that stands for a flag
        raise RedirectError(f"container {enrolment.SIDECAR}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Annotations:
    written: Mapping[str, Any]

    def __call__(self, name: str, otherwise: str, check: Callable[[str], str]) -> str:
        if not self.has(name):
            return otherwise
        value = str(self.written[name])
        try:
            return check(value.strip())
        except ValueError as error:
            raise RedirectError(f'annotation {name}: "{value}" {error}') from error

    def has(self, name: str) -> bool:
        return name in self.written


def _listeners(pod: Mapping[str, Any]) -> Listeners:
    """Where the proxy listens, for which there is no annotation: what the pod is going to be validated by."""
    validation = enrolment.container(pod, enrolment.VALIDATION) or {}
    argv = [str(argument) for argument in validation.get("args") or ()]
    usual = Listeners()
    return Listeners(
        _port_after(argv, _OUTBOUND_FLAG, usual.outbound), _port_after(argv, _INBOUND_FLAG, usual.inbound)
    )


def _port_after(argv: Sequence[str], flag: str, usual: int) -> int:
    value = next((value for name, value in pairwise(argv) if name == flag), str(usual))
    try:
        return int(texts.port(value))
    except ValueError as error:
        raise RedirectError(f'container {enrolment.VALIDATION}: args: {flag} "{value}" {error}') from error
