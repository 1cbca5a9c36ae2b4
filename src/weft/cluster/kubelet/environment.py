"""The environment and the words of a container: references looked up, `$(NAME)` expanded."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from weft.cluster.kubelet import quantity
from weft.cluster.kubelet.objects import ConfigError, Objects, data_of

MAX_PODS = 110
MOST = 1 << 62  # bytes: of a disk whose size nobody has told
_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z0-9]+)\)")
_SUBSCRIPT = re.compile(r"""metadata\.(labels|annotations)\['(.+)'\]""")


@dataclasses.dataclass(frozen=True, slots=True)
class NodeFacts:
    """What pods may ask about the node they are on. `memory` in bytes.

    `allocatable` is what pods without a limit may use, in bytes by resource; without it all that there is.
    """

    name: str
    ip: str
    cpu: int
    memory: int
    allocatable: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def room(self) -> dict[str, Decimal]:
        """What pods may ask for together."""
        known = {"memory": self.memory, "ephemeral-storage": MOST, "cpu": self.cpu, "pods": MAX_PODS}
        return {name: Decimal(amount) for name, amount in {**known, **self.allocatable}.items()}


def variables(
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    pod_ip: str,
    node: NodeFacts,
    objects: Objects,
    services: Mapping[str, str],
) -> dict[str, str]:
    """The container's environment, in order; ConfigError names the object or key that is missing.

    `services` are the variables that tell of services: a container's own win over them.
    """
    result = dict(services)
    for source in container.get("envFrom") or ():
        result |= _from(source, pod["metadata"]["namespace"], objects)
    for entry in container.get("env") or ():
        if source := entry.get("valueFrom"):
            value = _looked_up(source, pod, container, pod_ip, node, objects)
            if value is not None:
                result[entry["name"]] = value
        else:
            result[entry["name"]] = expand(str(entry.get("value", "")), result)
    return result


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known and kept where it is not; `$$` is `$`."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return known.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def field(pod: Mapping[str, Any], path: str, pod_ip: str, node: NodeFacts) -> str:
    """A field of the pod as fieldRef names it; ConfigError for one that does not exist."""
    metadata, spec = pod["metadata"], pod["spec"]
    if match := _SUBSCRIPT.match(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(metadata[path.removeprefix("metadata.")])
        case "metadata.labels" | "metadata.annotations":
            return _listed(metadata.get(path.removeprefix("metadata.")) or {})
        case "spec.nodeName":
            return node.name
        case "spec.serviceAccountName":
            return str(spec.get("serviceAccountName", "default"))
        case "status.podIP" | "status.podIPs":
            return pod_ip
        case "status.hostIP" | "status.hostIPs":
            return node.ip
        case _:
            raise ConfigError(f"unsupported fieldPath: {path}")


def resource(container: Mapping[str, Any], name: str, divisor: object, node: NodeFacts) -> str:
    """A limit or request as resourceFieldRef names it (`limits.cpu`); a missing limit is the node's own."""
    kind, _, what = name.partition(".")
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    capacity: dict[str, Any] = {"cpu": node.cpu, "memory": node.memory, **node.allocatable}
    match kind:
        case "limits":
            value = limits.get(what, capacity.get(what, 0))
        case "requests":
            value = (resources.get("requests") or {}).get(what, limits.get(what, 0))
        case _:
            raise ConfigError(f"unsupported container resource: {name}")
    return str(quantity.divided(value, divisor))


def service_variables(services: Sequence[Mapping[str, Any]], api: tuple[str, int]) -> dict[str, str]:
    """Service links (docs: discovering services): host and port of each service with an address, API included."""
    result = _links("kubernetes", api[0], [{"name": "https", "port": api[1]}])
    for service in services:
        ip = service.get("spec", {}).get("clusterIP")
        if ip and ip != "None" and service["metadata"]["name"] != "kubernetes":
            result |= _links(service["metadata"]["name"], ip, service["spec"].get("ports") or [])
    return result


def _links(name: str, ip: str, ports: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    prefix = _upper(name)
    result = {f"{prefix}_SERVICE_HOST": ip}
    for index, port in enumerate(ports):
        number, protocol = port["port"], str(port.get("protocol", "TCP"))
        url = f"{protocol.lower()}://{ip}:{number}"
        if index == 0:
            result |= {f"{prefix}_SERVICE_PORT": str(number), f"{prefix}_PORT": url}
        if port.get("name"):
            result[f"{prefix}_SERVICE_PORT_{_upper(port['name'])}"] = str(number)
        link = f"{prefix}_PORT_{number}_{protocol}"
        result |= {link: url, f"{link}_PROTO": protocol.lower(), f"{link}_PORT": str(number), f"{link}_ADDR": ip}
    return result


def _upper(name: str) -> str:
    return name.replace("-", "_").upper()


def _listed(pairs: Mapping[str, str]) -> str:
    # one line each, the value quoted as Go's %q does; JSON's escapes are close enough to read back
    import json

    return "\n".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted(pairs.items()))


def _from(source: Mapping[str, Any], namespace: str, objects: Objects) -> dict[str, str]:
    prefix = source.get("prefix", "")
    for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        if reference := source.get(key):
            found = objects.get(kind, namespace, reference["name"])
            if found is None and not reference.get("optional"):
                raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')
            pairs = data_of(found or {})
            return {prefix + name: value.decode(errors="replace") for name, value in pairs.items()}
    return {}


def _looked_up(
    source: Mapping[str, Any],
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    pod_ip: str,
    node: NodeFacts,
    objects: Objects,
) -> str | None:
    if reference := source.get("fieldRef"):
        return field(pod, reference["fieldPath"], pod_ip, node)
    if reference := source.get("resourceFieldRef"):
        named = _container(pod, reference["containerName"]) if reference.get("containerName") else container
        return resource(named, reference["resource"], reference.get("divisor"), node)
    for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if reference := source.get(key):
            return _keyed(kind, pod["metadata"]["namespace"], reference, objects)
    return None


def _keyed(kind: str, namespace: str, reference: Mapping[str, Any], objects: Objects) -> str | None:
    found = objects.get(kind, namespace, reference["name"])
    if found is not None and (value := data_of(found).get(reference["key"])) is not None:
        return value.decode(errors="replace")
    if reference.get("optional"):
        return None
    if found is None:
        raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')
    raise ConfigError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")


def _container(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    spec = pod["spec"]
    for container in [*spec.get("containers", ()), *(spec.get("initContainers") or ())]:
        if container["name"] == name:
            found: Mapping[str, Any] = container
            return found
    raise ConfigError(f"container {name} not found in pod")
