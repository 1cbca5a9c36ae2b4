"""Pods and the pod templates in workloads."""

import copy
from collections.abc import Iterator
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_field,
    required,
    unsupported,
)

Obj = dict[str, Any]
_HANDLERS = frozenset({"exec", "httpGet", "tcpSocket", "grpc"})
_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def pod(obj: Obj) -> list[FieldError]:
    """What is wrong with a pod."""
    return spec(obj.get("spec") or {}, "spec")


def spec(given: Obj, path: str) -> list[FieldError]:
    """What is wrong with a pod's spec; `path` is where it stands."""
    return list(_spec(given, path))


def _spec(given: Obj, path: str) -> Iterator[FieldError]:
    volumes: set[str] = set()
    for index, volume in enumerate(given.get("volumes") or ()):
        where = f"{path}.volumes[{index}]"
        name = volume.get("name", "")
        yield from _name(name, f"{where}.name", volumes)
        volumes.add(name)
        if len(set(volume) - {"name"}) > 1:
            yield forbidden_field(
                f"{where}.{sorted(set(volume) - {'name'})[1]}", "may not specify more than 1 volume type"
            )
    if not given.get("containers"):
        yield required(f"{path}.containers")
    taken: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(given.get(field) or ()):
            yield from _container(container, f"{path}.{field}[{index}]", taken, volumes)
            taken.add(container.get("name", ""))
    if given.get("restartPolicy", "Always") not in _RESTART:
        yield unsupported(f"{path}.restartPolicy", given["restartPolicy"], _RESTART)
    if given.get("dnsPolicy", "ClusterFirst") not in _DNS:
        yield unsupported(f"{path}.dnsPolicy", given["dnsPolicy"], _DNS)
    if given.get("terminationGracePeriodSeconds", 0) < 0:
        yield invalid_value(
            f"{path}.terminationGracePeriodSeconds",
            given["terminationGracePeriodSeconds"],
            "must be greater than or equal to 0",
        )
    account = given.get("serviceAccountName", "")
    if account and (why := names.subdomain(account)):
        yield invalid_value(f"{path}.serviceAccountName", account, why)


def _name(name: str, path: str, taken: set[str]) -> Iterator[FieldError]:
    if not name:
        yield required(path)
    elif why := names.label(name):
        yield invalid_value(path, name, why)
    elif name in taken:
        yield duplicate(path, name)


def _container(container: Obj, path: str, taken: set[str], volumes: set[str]) -> Iterator[FieldError]:
    yield from _name(container.get("name", ""), f"{path}.name", taken)
    image = container.get("image", "")
    if not image:
        yield required(f"{path}.image")
    elif image != image.strip():
        yield invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace")
    if container.get("imagePullPolicy", "Always") not in _PULL:
        yield unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], _PULL)
    yield from _ports(container.get("ports") or (), f"{path}.ports")
    yield from _environment(container.get("env") or (), f"{path}.env")
    yield from _mounts(container.get("volumeMounts") or (), f"{path}.volumeMounts", volumes)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            yield from _probe(container[name], f"{path}.{name}")


def _ports(ports: Any, path: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        number = port.get("containerPort", 0)
        if not number:
            yield required(f"{where}.containerPort")
        elif not 0 < number < 65536:
            yield invalid_value(f"{where}.containerPort", number, "must be between 1 and 65535, inclusive")
        if port.get("protocol", "TCP") not in _PROTOCOLS:
            yield unsupported(f"{where}.protocol", port["protocol"], _PROTOCOLS)
        name = port.get("name")
        if name and name in seen:
            yield duplicate(f"{where}.name", name)
        elif name and (len(name) > 15 or names.label(name)):
            yield invalid_value(
                f"{where}.name", name, "must be no more than 15 characters and a lower case IANA name"
            )
        seen.add(name)


def _environment(variables: Any, path: str) -> Iterator[FieldError]:
    for index, variable in enumerate(variables):
        if not variable.get("name"):
            yield required(f"{path}[{index}].name")
        source = variable.get("valueFrom")
        if source is not None and len(source) != 1:
            yield invalid_value(f"{path}[{index}].valueFrom", source, "must specify exactly one of its fields")
        if source and variable.get("value"):
            yield invalid_value(f"{path}[{index}].valueFrom", "", "may not be specified when `value` is not empty")


def _mounts(mounts: Any, path: str, volumes: set[str]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        where = f"{path}[{index}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            yield required(f"{where}.name")
        elif name not in volumes:
            yield not_found_field(f"{where}.name", name)
        if not target:
            yield required(f"{where}.mountPath")
        elif target in seen:
            yield invalid_value(f"{where}.mountPath", target, "must be unique")
        seen.add(target)


def _probe(probe: Obj, path: str) -> Iterator[FieldError]:
    handlers = sorted(_HANDLERS & set(probe))
    if not handlers:
        yield required(path, "must specify a handler type")
    elif len(handlers) > 1:
        yield forbidden_field(f"{path}.{handlers[1]}", "may not specify more than 1 handler type")


def changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A pod's spec stays as it is but for images, deadlines and more tolerations."""
    new, old = copy.deepcopy(obj.get("spec") or {}), copy.deepcopy(before.get("spec") or {})
    if not set(map(str, old.get("tolerations") or ())) <= set(map(str, new.get("tolerations") or ())):
        return [
            forbidden_field(
                "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
            )
        ]
    for given in (new, old):
        for field in ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "schedulingGates"):
            given.pop(field, None)
        for field in ("containers", "initContainers"):
            for container in given.get(field) or ():
                container.pop("image", None)
    if new == old:
        return []
    return [
        forbidden_field(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations`"
            " (only additions to existing"
            " tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if"
            " it was previously negative)",
        )
    ]
