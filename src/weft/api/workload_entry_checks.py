"""What must hold of a workload's entry, wherever it is written: by itself, in a ServiceEntry, or in a group."""

from collections.abc import Collection, Iterator
from ipaddress import ip_address
from typing import Final

from weft.api import codes
from weft.api.checks import check_labels
from weft.api.own_places import is_loopback, is_own_socket
from weft.api.report import Report
from weft.api.workload_entry import UNIX, WorkloadEntry, WorkloadEntrySpec
from weft.base.names import host_fault, is_dns_label, nearest
from weft.base.problem import Problem

_PARTS_OF_LOCALITY: Final = 3
_WAY_OUT: Final = "Write an IP address or a DNS name."


def check(entry: WorkloadEntry, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with an entry, or works otherwise than it looks."""
    spec = entry.spec
    if spec.address.startswith(UNIX):
        hint = "Only an endpoint inside a ServiceEntry can be a socket of the client's own machine."
        yield report.error("spec.address", "is a socket, which other machines cannot reach.", hint)
    elif is_loopback(spec.address):
        hint = "Write the address by which others reach the workload."
        yield report.error("spec.address", f'"{spec.address}" leads back to whoever dials it.', hint)
    yield from check_entry(spec, "spec", report)


def check_entry(spec: WorkloadEntrySpec, field: str, report: Report) -> Iterator[Problem]:
    """Check an entry's address and all that is beside it."""
    if not spec.address and not spec.network:
        yield report.error(f"{field}.address", "the address is empty.", _WAY_OUT)
    elif spec.address.startswith(UNIX):
        yield from _socket(spec, field, report)
    elif spec.address and not is_address(spec.address):
        fault = host_fault(spec.address, wildcard=False)
        if fault or is_numeric(spec.address):
            message = f'"{spec.address}" is neither an IP address nor a DNS name.'
            yield report.error(f"{field}.address", message, _WAY_OUT)
    yield from check_rest(spec, field, report)


def check_rest(spec: WorkloadEntrySpec, field: str, report: Report) -> Iterator[Problem]:
    """Check what an entry says beside its address."""
    yield from check_labels(spec.labels, f"{field}.labels", report)
    parts = spec.locality.split("/")
    if "*" in spec.locality or (spec.locality and not all(parts)) or len(parts) > _PARTS_OF_LOCALITY:
        hint = "Write region, region/zone or region/zone/subzone."
        yield report.error(f"{field}.locality", f'"{spec.locality}" is not a locality.', hint)
    if spec.service_account and not all(is_dns_label(part) for part in spec.service_account.split(".")):
        message = f'"{spec.service_account}" cannot be the name of a service account.'
        yield report.error(
            f"{field}.serviceAccount", message, "Write the account's name alone, for instance default."
        )
    for name in spec.ports:
        if not name:
            yield report.error(f"{field}.ports", "a port has no name.", "Use the names of the service's ports.")


def check_ports(spec: WorkloadEntrySpec, names: Collection[str], field: str, report: Report) -> Iterator[Problem]:
    """An endpoint's ports must be named as those of its service."""
    for name in spec.ports:
        if name and name not in names:
            near = nearest(name, names)
            hint = f'Did you mean "{near}"?' if near else f"Known: {', '.join(sorted(names)) or 'none'}."
            message = f'"{name}" is not the name of a port in spec.ports.'
            yield report.error(f"{field}.ports.{name}", message, hint, codes.SCHEMA)


def is_address(text: str) -> bool:
    """Whether a text is an IP address of either family."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_numeric(text: str) -> bool:
    """Whether a text is meant as an IPv4 address: no top-level domain is a number (RFC 3696, section 2)."""
    return text.removesuffix(".").rpartition(".")[2].isdigit()


def _socket(spec: WorkloadEntrySpec, field: str, report: Report) -> Iterator[Problem]:
    path = spec.address.removeprefix(UNIX)
    if not path.startswith(("/", "@")) or path in {"/", "@"}:
        hint = "Write unix:///path/of/the/socket, or unix://@name for an abstract one."
        yield report.error(f"{field}.address", f'"{spec.address}" is not the path of a socket.', hint)
    elif is_own_socket(spec.address):
        hint = "Write the path of the server's own socket."
        yield report.error(f"{field}.address", f'"{spec.address}" is where proxies have their credentials.', hint)
    if spec.ports:
        yield report.error(f"{field}.ports", "a socket has no ports.", "Take them out.")
