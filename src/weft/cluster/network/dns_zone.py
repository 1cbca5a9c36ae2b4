"""What DNS answers about a cluster: the Kubernetes DNS specification (1.1.0) over one picture of services."""

from collections.abc import Iterator, Sequence
from ipaddress import AddressValueError, IPv4Address

from weft.adapters.dns.answers import A, Absent, Answer, Cname, Elsewhere, Found, Ptr, Srv
from weft.cluster.network.directory import Key, Picture
from weft.cluster.network.objects import Service, Slice, SliceEndpoint

_CNAME_DEPTH = 8


class Zone:
    """The names of a cluster at one moment. Names are lower case, without the final dot."""

    def __init__(self, picture: Picture, domain: str = "cluster.local") -> None:
        self.domain = domain
        self._services = picture.services
        self._slices = picture.by_service()
        self._namespaces = {namespace for namespace, _ in picture.services}
        self._reverse: dict[str, list[str]] = {}
        for ip, target in self._reverse_names():
            self._reverse.setdefault(ip, []).append(target)

    def answer(self, name: str, kind: str) -> Answer:
        """The answer for a name and a type (`A`, `AAAA`, `SRV`, `PTR`, `CNAME`, `ANY`…)."""
        name = name.lower().rstrip(".")
        if name.endswith(".in-addr.arpa"):
            return self._pointer(name, kind)
        return self._resolve(name, kind, _CNAME_DEPTH)

    def _resolve(self, name: str, kind: str, depth: int) -> Answer:
        if name == self.domain:
            return Found()
        if not name.endswith(f".{self.domain}"):
            return Elsewhere(name)
        match name[: -len(self.domain) - 1].split("."):
            case ["svc" | "pod"]:
                return Found()
            case [namespace, "svc" | "pod"]:
                return Found() if namespace in self._namespaces else Absent()
            case [service, namespace, "svc"]:
                return self._service(name, (namespace, service), kind, depth)
            case [host, service, namespace, "svc"]:
                return self._host(name, host, (namespace, service), kind)
            case [port, protocol, service, namespace, "svc"] if port.startswith("_") and protocol.startswith("_"):
                return self._port(name, (namespace, service), port[1:], protocol[1:], kind)
            case [address, namespace, "pod"]:
                return self._pod(name, address, namespace, kind)
        return Absent()

    def _service(self, name: str, key: Key, kind: str, depth: int) -> Answer:
        service = self._services.get(key)
        if service is None:
            return Absent()
        if service.spec.type == "ExternalName":
            return self._alias(name, service.spec.external_name.lower().rstrip("."), kind, depth)
        if kind == "SRV":
            return self._srv(name, service, "", "")
        if kind not in {"A", "ANY"}:
            return Found()
        if not service.headless:
            return Found((A(name, service.spec.cluster_ip),))
        return Found(tuple(A(name, ip) for ip in sorted({ip for _, ip in self._ready(service)})))

    def _alias(self, name: str, target: str, kind: str, depth: int) -> Answer:
        alias = Cname(name, target)
        if kind == "CNAME" or not depth:
            return Found((alias,))
        match self._resolve(target, kind, depth - 1):
            case Found(records, additional):
                return Found((alias, *records), additional)
            case Elsewhere(outside, records):
                return Elsewhere(outside, (alias, *records))
            case Absent():
                return Found((alias,))

    def _host(self, name: str, host: str, key: Key, kind: str) -> Answer:
        service = self._services.get(key)
        if service is None:
            return Absent()
        if host in {"_tcp", "_udp", "_sctp"}:
            return Found()
        found = {ip for endpoint, ip in self._ready(service) if _host_name(endpoint, ip) == host}
        if not found:
            return Absent()
        return Found(tuple(A(name, ip) for ip in sorted(found)) if kind in {"A", "ANY"} else ())

    def _port(self, name: str, key: Key, port: str, protocol: str, kind: str) -> Answer:
        service = self._services.get(key)
        if service is None:
            return Absent()
        found = self._srv(name, service, port, protocol)
        if not found.records:
            return Absent()
        return found if kind in {"SRV", "ANY"} else Found()

    def _srv(self, name: str, service: Service, port: str, protocol: str) -> Found:
        """The named ports of a service, or the one that was asked for."""
        namespace, short = service.key
        base = f"{short}.{namespace}.svc.{self.domain}"
        records: list[Srv] = []
        additional: list[A] = []
        if not service.headless:
            records += [
                Srv(name, one.port, base)
                for one in service.spec.ports or []
                if _asked(one.name, one.protocol, port, protocol)
            ]
            additional = [A(base, service.spec.cluster_ip)] if records else []
            return Found(tuple(records), tuple(additional))
        for one_slice in self._slices.get(service.key, []):
            numbers = [
                entry.port
                for entry in one_slice.ports or []
                if entry.port and _asked(entry.name or "", entry.protocol or "TCP", port, protocol)
            ]
            for endpoint, ip in self._ready(service, [one_slice]):
                host = f"{_host_name(endpoint, ip)}.{base}"
                records += [Srv(name, number, host) for number in numbers]
                additional += [A(host, ip)] if numbers else []
        return Found(tuple(records), tuple(additional))

    def _pod(self, name: str, address: str, namespace: str, kind: str) -> Answer:
        if namespace not in self._namespaces:
            return Absent()
        try:
            ip = IPv4Address(address.replace("-", "."))
        except AddressValueError:
            return Absent()
        return Found((A(name, str(ip)),) if kind in {"A", "ANY"} else ())

    def _pointer(self, name: str, kind: str) -> Answer:
        try:
            ip = str(IPv4Address(".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))))
        except AddressValueError:
            return Elsewhere(name)
        targets = self._reverse.get(ip)
        if targets is None:
            return Elsewhere(name)
        return Found(tuple(Ptr(name, target) for target in targets) if kind in {"PTR", "ANY"} else ())

    def _reverse_names(self) -> Iterator[tuple[str, str]]:
        """Of a service's address its name, of its endpoints those in it; an address may have several."""
        for key, service in sorted(self._services.items()):
            if service.spec.type == "ExternalName":
                continue
            base = f"{key[1]}.{key[0]}.svc.{self.domain}"
            if not service.headless:
                yield service.spec.cluster_ip, base
            found = {(ip, f"{_host_name(endpoint, ip)}.{base}") for endpoint, ip in self._ready(service)}
            yield from sorted(found)

    def _ready(
        self, service: Service, slices: Sequence[Slice] | None = None
    ) -> Iterator[tuple[SliceEndpoint, str]]:
        chosen = self._slices.get(service.key, []) if slices is None else slices
        for one in chosen:
            if one.address_type == "IPv4":
                for endpoint in one.endpoints or []:
                    if endpoint.ready or service.spec.publish_not_ready_addresses:
                        yield from ((endpoint, ip) for ip in endpoint.addresses)


def _host_name(endpoint: SliceEndpoint, ip: str) -> str:
    """A pod's own host name if it asked for one, else its address with dashes (as CoreDNS names it)."""
    return (endpoint.hostname or ip.replace(".", "-")).lower()


def _asked(name: str, protocol: str, wanted_name: str, wanted_protocol: str) -> bool:
    """Whether a port is meant; no wanted name means all that have one."""
    if not wanted_name:
        return bool(name)
    return name == wanted_name and protocol.lower() == wanted_protocol
