"""IPAM's metrics, under the names that Spiderpool gives them."""

from typing import Final

from weft.processes.cni.metrics import Registry
from weft.underlay.ipam.allocation import Request, Want

ALLOCATION: Final = "allocation"
RELEASE: Final = "release"
INTERNAL: Final = "err_internal"
NO_POOL: Final = "err_no_available_pool"
USED_OUT: Final = "err_ip_used_out"
RETRIES: Final = "err_retries_exhausted"
"""Why an allocation or release fails."""

_ABOUT: Final = {
    INTERNAL: "for another reason",
    NO_POOL: "since no pool serves",
    USED_OUT: "since all addresses are in use",
    RETRIES: "since a pool could not be written",
}


class Meters:
    """What IPAM counts. `seconds` are of the whole call, `limit` of waiting for the pool's turn."""

    def __init__(self, registry: Registry) -> None:
        kinds = (ALLOCATION, RELEASE)
        self._counts = {each: registry.counter(_name(each, "counts"), f"Calls for {each}.") for each in kinds}
        self._failed = {
            each: registry.counter(_name(each, "failure_counts"), f"Calls for {each} that failed.")
            for each in kinds
        }
        self._conflicts = {
            each: registry.counter(
                _name(each, "update_ippool_conflict_counts"), f"Writes for {each} that another overtook."
            )
            for each in kinds
        }
        self._why = {
            (each, why): registry.counter(_name(each, f"{why}_counts"), f"Calls for {each} that failed {about}.")
            for each in kinds
            for why, about in _ABOUT.items()
            if each == ALLOCATION or why in {INTERNAL, RETRIES}
        }
        self._seconds = {
            each: registry.histogram(_name(each, "duration_seconds"), f"Seconds of a call for {each}.")
            for each in kinds
        }
        self._limit = {
            each: registry.histogram(
                _name(each, "limit_duration_seconds"), f"Seconds until it is the turn of {each}."
            )
            for each in kinds
        }
        self._writes = registry.counter("spiderpool_ipam_pool_writes_total", "Writes of pools.")
        self._written = registry.counter(
            "spiderpool_ipam_pool_written_total", "Requests that those writes settled."
        )

    def done(self, kind: str, seconds: float) -> None:
        """A call has succeeded."""
        self._counts[kind].add()
        self._seconds[kind].took(seconds)

    def failed(self, kind: str, why: str, seconds: float) -> None:
        """A call has failed."""
        self.done(kind, seconds)
        self._failed[kind].add()
        self._why[kind, why].add()

    def written(self, requests: int) -> None:
        """A pool was written for so many requests."""
        self._writes.add()
        for _ in range(requests):
            self._written.add()

    def conflict(self, request: Request) -> None:
        """A write has been overtaken."""
        self._conflicts[_kind(request)].add()

    def waited(self, request: Request, seconds: float) -> None:
        """A request has waited so long for its turn."""
        self._limit[_kind(request)].took(max(0.0, seconds))


def _kind(request: Request) -> str:
    return ALLOCATION if isinstance(request, Want) else RELEASE


def _name(kind: str, what: str) -> str:
    return f"spiderpool_ipam_{kind}_{what}"
