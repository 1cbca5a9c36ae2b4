"""Containers of every sort: their names, ports, variables, mounts and the rest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from weft.cluster.apiserver.errors import duplicate, forbidden_field, invalid_value, not_found_field, required
from weft.cluster.apiserver.validation import handlers, references, resources, security
from weft.cluster.apiserver.validation.rules import (
    PROTOCOLS,
    Found,
    dns_label,
    inside,
    no_way_up,
    one_of,
    port,
    port_name,
)

Obj = dict[str, Any]
_PULL = ("Always", "IfNotPresent", "Never")
_MESSAGES = ("File", "FallbackToLogsOnError")
_RESTARTS = ("Always", "Never", "OnFailure")
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
# what a debugging container may say; the rest is for containers that belong to the pod
_NOT_EPHEMERAL = (
    "ports",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resizePolicy",
    "restartPolicy",
)


@dataclass(frozen=True, slots=True)
class Around:
    """What a container may refer to: its pod's spec and the sound volumes."""

    spec: Obj
    volumes: dict[str, Obj]

    @property
    def claims(self) -> frozenset[str]:
        """The names of the pod's resource claims."""
        return frozenset(claim.get("name", "") for claim in self.spec.get("resourceClaims") or ())


def regular(around: Around, path: str) -> Found:
    """`containers`."""
    given = around.spec.get("containers") or []
    if not given:
        yield required(path)
    taken: set[str] = set()
    for index, container in enumerate(given):
        where = f"{path}[{index}]"
        yield from _common(container, where, around)
        if container.get("name", "") in taken:
            yield duplicate(f"{where}.name", container.get("name", ""))
        taken.add(container.get("name", ""))
        yield from handlers.all_of(container, where, around.spec.get("terminationGracePeriodSeconds"))
        yield from one_of(container.get("restartPolicy"), f"{where}.restartPolicy", _RESTARTS)
    yield from _host_ports(given, path)


def init(around: Around, path: str) -> Found:
    """`initContainers`: those that end and those that stay (sidecars)."""
    taken = {container.get("name", "") for container in around.spec.get("containers") or ()}
    for index, container in enumerate(around.spec.get("initContainers") or ()):
        where = f"{path}[{index}]"
        yield from _common(container, where, around)
        yield from one_of(container.get("restartPolicy"), f"{where}.restartPolicy", _RESTARTS)
        name = container.get("name", "")
        if name in taken:
            yield duplicate(f"{where}.name", name)
        elif name:
            taken.add(name)
        yield from _host_ports([container], path)
        if container.get("restartPolicy") == "Always":
            yield from handlers.all_of(container, where, around.spec.get("terminationGracePeriodSeconds"))
        else:
            yield from handlers.none_of(container, where)


def ephemeral(around: Around, path: str) -> Found:
    """`ephemeralContainers`, which `kubectl debug` adds."""
    others = {
        container.get("name", "")
        for field in ("containers", "initContainers")
        for container in around.spec.get(field) or ()
    }
    taken = set(others)
    for index, container in enumerate(around.spec.get("ephemeralContainers") or ()):
        where = f"{path}[{index}]"
        yield from _common(container, where, around)
        if container.get("name", "") in taken:
            yield duplicate(f"{where}.name", container.get("name", ""))
        taken.add(container.get("name", ""))
        target = container.get("targetContainerName")
        if target and target not in others:
            yield not_found_field(f"{where}.targetContainerName", target)
        for field in _NOT_EPHEMERAL:
            if container.get(field):
                yield forbidden_field(f"{where}.{field}", "cannot be set for an Ephemeral Container")
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    at = f"{where}.volumeMounts[{number}].{field}"
                    yield forbidden_field(at, "cannot be set for an Ephemeral Container")


def trimmed(given: Iterable[Obj], path: str) -> Found:
    """Images of pods (not of templates) have no blanks around them."""
    for index, container in enumerate(given):
        image = container.get("image", "")
        if image != image.strip():
            yield invalid_value(f"{path}[{index}].image", image, "must not have leading or trailing whitespace")


def _common(container: Obj, path: str, around: Around) -> Found:
    yield from dns_label(container.get("name"), f"{path}.name")
    if not container.get("image"):
        yield required(f"{path}.image")
    yield from one_of(container.get("terminationMessagePolicy"), f"{path}.terminationMessagePolicy", _MESSAGES)
    yield from _ports(container.get("ports") or (), f"{path}.ports")
    yield from references.variables(container.get("env") or (), f"{path}.env")
    yield from references.many(container.get("envFrom") or (), f"{path}.envFrom")
    yield from _mounts(container, f"{path}.volumeMounts", around)
    yield from _devices(container, f"{path}.volumeDevices", around)
    yield from one_of(container.get("imagePullPolicy"), f"{path}.imagePullPolicy", _PULL)
    yield from resources.requirements(container.get("resources") or {}, f"{path}.resources", around.claims)
    yield from _resizing(container.get("resizePolicy") or (), f"{path}.resizePolicy", around.spec)
    if container.get("securityContext") is not None:
        yield from security.of_container(container["securityContext"], f"{path}.securityContext", around.spec)


def _ports(ports: Sequence[Obj], path: str) -> Found:
    seen: set[str] = set()
    for index, given in enumerate(ports):
        where = f"{path}[{index}]"
        if name := given.get("name"):
            wrong = list(port_name(name, f"{where}.name"))
            yield from wrong
            if not wrong and name in seen:
                yield duplicate(f"{where}.name", name)
            seen.add(name)
        if not given.get("containerPort"):
            yield required(f"{where}.containerPort")
        else:
            yield from port(given["containerPort"], f"{where}.containerPort")
        if given.get("hostPort"):
            yield from port(given["hostPort"], f"{where}.hostPort")
        yield from one_of(given.get("protocol", "TCP"), f"{where}.protocol", PROTOCOLS, absent="")


def _host_ports(containers: Sequence[Obj], path: str) -> Found:
    taken: set[str] = set()
    for number, container in enumerate(containers):
        for index, given in enumerate(container.get("ports") or ()):
            if not given.get("hostPort"):
                continue
            shown = f"{given.get('protocol', 'TCP')}/{given.get('hostIP', '')}/{given['hostPort']}"
            if shown in taken:
                yield duplicate(f"{path}[{number}].ports[{index}].hostPort", shown)
            taken.add(shown)


def on_host_network(spec: Obj, path: str, *, pod: bool) -> Found:
    """Where a pod shares its node's network, a container's port is its host port. Templates may leave it open."""
    if not spec.get("hostNetwork"):
        return
    for number, container in enumerate(spec.get("containers") or ()):
        for index, given in enumerate(container.get("ports") or ()):
            host = given.get("hostPort", 0)
            if (pod or host) and host != given.get("containerPort", 0):
                why = "must match `containerPort` when `hostNetwork` is true"
                yield invalid_value(f"{path}.containers[{number}].ports[{index}].hostPort", host, why)


def _mounts(container: Obj, path: str, around: Around) -> Found:
    seen: set[str] = set()
    devices = {device.get("name"): device.get("devicePath") for device in container.get("volumeDevices") or ()}
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        where = f"{path}[{index}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            yield required(f"{where}.name")
        if name not in around.volumes:
            yield not_found_field(f"{where}.name", name)
        if not target:
            yield required(f"{where}.mountPath")
        if target in seen:
            yield invalid_value(f"{where}.mountPath", target, "must be unique")
        seen.add(target)
        if name in devices:
            yield invalid_value(f"{where}.name", name, "must not already exist in volumeDevices")
        if target in devices.values():
            yield invalid_value(f"{where}.mountPath", target, "must not already exist as a path in volumeDevices")
        yield from _part(mount, path, where)
        yield from _propagation(mount, container, path)


def _part(mount: Obj, path: str, where: str) -> Found:
    part, expression = mount.get("subPath"), mount.get("subPathExpr")
    if part:
        yield from inside(part, f"{path}.subPath")
    if expression:
        if part:
            yield invalid_value(
                f"{where}.subPathExpr", expression, "subPathExpr and subPath are mutually exclusive"
            )
        yield from inside(expression, f"{path}.subPathExpr")


def _propagation(mount: Obj, container: Obj, path: str) -> Found:
    where, given = f"{path}.mountPropagation", mount.get("mountPropagation")
    yield from one_of(given, where, _PROPAGATIONS)
    if given == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        yield forbidden_field(where, "Bidirectional mount propagation is available only to privileged containers")
    if mount.get("recursiveReadOnly") in {"Enabled", "IfPossible"} and not mount.get("readOnly"):
        yield forbidden_field(f"{path}.recursiveReadOnly", "may only be specified when readOnly is true")


def _devices(container: Obj, path: str, around: Around) -> Found:
    seen: set[str] = set()
    paths: set[str] = set()
    for index, device in enumerate(container.get("volumeDevices") or ()):
        where = f"{path}[{index}]"
        name, target = device.get("name", ""), device.get("devicePath", "")
        if not name:
            yield required(f"{where}.name")
        if name in seen:
            yield invalid_value(f"{where}.name", name, "must be unique")
        volume = around.volumes.get(name)
        if volume is None:
            yield not_found_field(f"{where}.name", name)
        elif "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
            why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield invalid_value(f"{where}.name", name, why)
        if not target:
            yield required(f"{where}.devicePath")
        if target in paths:
            yield invalid_value(f"{where}.devicePath", target, "must be unique")
        for _ in no_way_up(target, where):
            yield invalid_value(f"{where}.devicePath", target, "can not contain backsteps ('..')")
        seen.add(name)
        paths.add(target)


def _resizing(policies: Sequence[Obj], path: str, spec: Obj) -> Found:
    seen: set[str] = set()
    for index, given in enumerate(policies):
        name, restart = given.get("resourceName", ""), given.get("restartPolicy", "")
        if name in seen:
            yield duplicate(f"{path}[{index}]", name)
        seen.add(name)
        yield from one_of(name, path, ("cpu", "memory"), absent="")
        yield from one_of(restart, path, ("NotRequired", "RestartContainer"), absent="")
        if spec.get("restartPolicy") == "Never" and restart != "NotRequired":
            yield invalid_value(path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'")
