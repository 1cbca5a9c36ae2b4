"""Which service addresses and node ports are taken."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value

Owner = tuple[str, str]
"""A Service's namespace and name."""
_NODE_PORTS = range(30000, 32768)
_TRIES = 64


@dataclass(slots=True)
class _Held:
    addresses: set[IPv4Address] = field(default_factory=set)
    ports: set[int] = field(default_factory=set)


@dataclass(slots=True)
class ServiceAddresses:
    """The allocator. The network's and the broadcast address are never given."""

    network: IPv4Network
    chance: random.Random
    _addresses: dict[IPv4Address, Owner] = field(default_factory=dict)
    _ports: dict[int, Owner] = field(default_factory=dict)
    _held: dict[Owner, _Held] = field(default_factory=dict)

    def restore(self, services: Iterable[dict[str, Any]]) -> None:
        """Take note of what existing Services hold."""
        for service in services:
            self.settle((service["metadata"]["namespace"], service["metadata"]["name"]), service)

    def settle(self, owner: Owner, service: dict[str, Any] | None) -> None:
        """What the Service says is all that it holds; nothing, where there is none (any more)."""
        before = self._held.pop(owner, _Held())
        for address in before.addresses:
            del self._addresses[address]
        for number in before.ports:
            del self._ports[number]
        spec = (service or {}).get("spec") or {}
        if spec.get("clusterIP") not in {None, "", "None"}:
            self._take_address(IPv4Address(spec["clusterIP"]), owner)
        for port in spec.get("ports") or ():
            if port.get("nodePort"):
                self._take_port(port["nodePort"], owner)
        if spec.get("healthCheckNodePort"):
            self._take_port(spec["healthCheckNodePort"], owner)

    def _take_address(self, address: IPv4Address, owner: Owner) -> bool:
        if self._addresses.setdefault(address, owner) != owner:
            return False
        self._held.setdefault(owner, _Held()).addresses.add(address)
        return True

    def _take_port(self, number: int, owner: Owner) -> bool:
        if self._ports.setdefault(number, owner) != owner:
            return False
        self._held.setdefault(owner, _Held()).ports.add(number)
        return True

    def allocate(self, service: dict[str, Any]) -> list[FieldError]:
        """Give the Service the addresses and ports it asks for or lacks, in place; says what cannot be had.

        Whatever comes of it, `settle` must follow with what is stored afterwards.
        """
        owner = (service["metadata"]["namespace"], service["metadata"]["name"])
        spec = service["spec"]
        if spec["type"] == "ExternalName":
            return []
        return self._address(spec, owner) or self._all_ports(spec, owner)

    def _all_ports(self, spec: dict[str, Any], owner: Owner) -> list[FieldError]:
        balanced = spec["type"] == "LoadBalancer"
        wants = spec["type"] == "NodePort" or (balanced and spec.get("allocateLoadBalancerNodePorts", True))
        found: list[FieldError] = []
        for index, port in enumerate(spec.get("ports") or ()):
            if wants or port.get("nodePort"):
                found += self._port(port, "nodePort", f"spec.ports[{index}].nodePort", owner)
        if balanced and spec.get("externalTrafficPolicy") == "Local":
            found += self._port(spec, "healthCheckNodePort", "spec.healthCheckNodePort", owner)
        return found

    def _address(self, spec: dict[str, Any], owner: Owner) -> list[FieldError]:
        wanted = spec.get("clusterIP") or (spec.get("clusterIPs") or [""])[0]
        if not wanted:
            wanted = self._free_address()
            if wanted is None:
                return [forbidden_field("spec.clusterIPs", f"no address is free in {self.network}")]
        spec["clusterIP"] = str(wanted)
        spec["clusterIPs"] = [str(wanted)]
        if wanted == "None":
            return []
        address = IPv4Address(wanted)
        if address not in self.network or address in {
            self.network.network_address,
            self.network.broadcast_address,
        }:
            return [
                self._refused(
                    address,
                    f"the provided IP ({address}) is not in the valid range. The range of valid IPs"
                    f" is {self.network}",
                )
            ]
        if not self._take_address(address, owner):
            return [self._refused(address, "provided IP is already allocated")]
        return []

    @staticmethod
    def _refused(address: IPv4Address, why: str) -> FieldError:
        return invalid_value("spec.clusterIPs", [str(address)], f"failed to allocate IP {address}: {why}")

    def _free_address(self) -> IPv4Address | None:
        first, last = int(self.network.network_address) + 1, int(self.network.broadcast_address) - 1
        # The first 256 addresses are left for Services that ask for one (KEP-3070).
        start = first + 256 if last - first > 512 else first
        for _ in range(_TRIES):
            address = IPv4Address(self.chance.randint(start, last))
            if address not in self._addresses:
                return address
        return next((a for a in map(IPv4Address, range(first, last + 1)) if a not in self._addresses), None)

    def _port(self, holder: dict[str, Any], name: str, path: str, owner: Owner) -> list[FieldError]:
        number = holder.get(name) or self._free_port()
        if number is None:
            return [forbidden_field(path, "no node port is free in 30000-32767")]
        if number not in _NODE_PORTS:
            why = "provided port is not in the valid range. The range of valid ports is 30000-32767"
            return [invalid_value(path, number, why)]
        if not self._take_port(number, owner):
            return [invalid_value(path, number, "provided port is already allocated")]
        holder[name] = number
        return []

    def _free_port(self) -> int | None:
        free = [port for port in _NODE_PORTS if port not in self._ports]
        return self.chance.choice(free) if free else None
