"""Which service addresses and node ports are taken."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value

Owner = tuple[str, str]
_NODE_PORTS = range(30000, 32768)
_TRIES = 64


@dataclass(slots=True)
class ServiceAddresses:
    """The allocator. The network's and the broadcast address are never given."""

    network: IPv4Network
    chance: random.Random
    _addresses: dict[IPv4Address, Owner] = field(default_factory=dict)
    _ports: dict[int, Owner] = field(default_factory=dict)

    def restore(self, services: Iterable[dict[str, Any]]) -> None:
        """Take note of what existing Services hold."""
        for service in services:
            owner = (service["metadata"]["namespace"], service["metadata"]["name"])
            spec = service.get("spec", {})
            if spec.get("clusterIP") not in {None, "", "None"}:
                self._addresses[IPv4Address(spec["clusterIP"])] = owner
            self._ports.update(
                {port["nodePort"]: owner for port in spec.get("ports") or () if port.get("nodePort")}
            )

    def allocate(self, service: dict[str, Any]) -> list[FieldError]:
        """Give the Service the addresses and ports it asks for or lacks, in place; says what cannot be had."""
        owner = (service["metadata"]["namespace"], service["metadata"]["name"])
        spec = service["spec"]
        if spec["type"] == "ExternalName":
            return []
        found = self._address(spec, owner)
        if spec["type"] in {"NodePort", "LoadBalancer"}:
            found += self._node_ports(spec, owner)
        if found:
            self.release(service)
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
        if self._addresses.setdefault(address, owner) != owner:
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

    def _node_ports(self, spec: dict[str, Any], owner: Owner) -> list[FieldError]:
        for index, port in enumerate(spec.get("ports") or ()):
            path = f"spec.ports[{index}].nodePort"
            number = port.get("nodePort") or self._free_port()
            if number is None:
                return [forbidden_field(path, "no node port is free")]
            if number not in _NODE_PORTS:
                return [
                    invalid_value(
                        path,
                        number,
                        "provided port is not in the valid range. The range of valid ports is 30000-32767",
                    )
                ]
            if self._ports.setdefault(number, owner) != owner:
                return [invalid_value(path, number, "provided port is already allocated")]
            port["nodePort"] = number
        return []

    def _free_port(self) -> int | None:
        free = [port for port in _NODE_PORTS if port not in self._ports]
        return self.chance.choice(free) if free else None

    def release(self, service: dict[str, Any]) -> None:
        """Take back what a Service holds; what others hold is left alone."""
        owner = (service["metadata"]["namespace"], service["metadata"]["name"])
        self._addresses = {address: holder for address, holder in self._addresses.items() if holder != owner}
        self._ports = {port: holder for port, holder in self._ports.items() if holder != owner}
