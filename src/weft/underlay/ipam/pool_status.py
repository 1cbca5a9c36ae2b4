"""What a pool's status says of its addresses, to and fro."""

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import msgspec

from weft.api.spider_ippool import Allocation, IPPoolStatus, allocations, allocations_text
from weft.underlay.addresses import Address, NotAddressesError, Ranges, parse_address
from weft.underlay.ipam.allocation import Holder, State
from weft.underlay.ipam.pools import Pool

_RESTING = msgspec.json.Decoder(dict[str, tuple[str, ...]])
_MOST_RESTING = 1 << 16


class UnreadableStatusError(ValueError):
    """Who has the addresses of a pool cannot be told, so none can be given."""


def read(name: str, status: IPPoolStatus) -> State:
    """The state of a pool. UnreadableStatusError where somebody has written what cannot be read."""
    try:
        taken = {
            parse_address(text): Holder(each.pod, each.pod_uid, each.interface)
            for text, each in allocations(status.allocated_ips).items()
        }
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise UnreadableStatusError(
            f"status.allocatedIPs of SpiderIPPool {name} cannot be read ({error}). Repair it: no address can be"
            ' given until it is JSON such as {"10.6.0.2":{"pod":"default/a","podUid":"…"}}.'
        ) from None
    return State(taken, _resting(status.released_ips))


def patch(pool: Pool, state: State) -> dict[str, Any]:
    """The status as a merge patch writes it; null is what there is none of."""
    taken = {
        str(address): Allocation(pod=holder.pod, pod_uid=holder.uid, interface=holder.interface)
        for address, holder in state.taken.items()
    }
    return {
        "allocatedIPs": allocations_text(taken),
        "releasedIPs": _resting_text(state.resting),
        "allocatedIPCount": len(state.taken),
        "totalIPCount": min(pool.addresses.size, (1 << 63) - 1),
    }


def _resting(text: str | None) -> Mapping[Address, datetime]:
    """Since when addresses rest. What cannot be read is as if it were not there: no harm comes of it."""
    found: dict[Address, datetime] = {}
    try:
        for moment, ranges in _RESTING.decode(text or "{}").items():
            since, addresses = datetime.fromisoformat(moment), Ranges.parse(ranges)
            if since.tzinfo is None or addresses.size > _MOST_RESTING:
                continue
            found |= dict.fromkeys(addresses, since)
    except (ValueError, msgspec.DecodeError, NotAddressesError, RecursionError):
        return {}
    return found


def _resting_text(resting: Mapping[Address, datetime]) -> str | None:
    if not resting:
        return None
    by_time: dict[datetime, list[IPv4Address | IPv6Address]] = {}
    for address, since in resting.items():
        by_time.setdefault(since, []).append(address)
    told = {
        f"{since.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z": Ranges.of(listed).texts()
        for since, listed in sorted(by_time.items())
    }
    return msgspec.json.encode(told).decode()
