"""Security contexts of pods and containers."""

import re
from typing import Any

from weft.cluster.apiserver.errors import duplicate, forbidden_field, invalid_value, required, unsupported
from weft.cluster.apiserver.validation.goform import go
from weft.cluster.apiserver.validation.rules import Found, between, inside, one_of, user_id

Obj = dict[str, Any]
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
_SAYS_SYSCTL = f"must have at most 253 characters and match regex ^{_SYSCTL.pattern}$"


def of_pod(given: Obj, spec: Obj, path: str) -> Found:
    """`securityContext` of a pod; `spec` has what belongs to it in Go: the host's namespaces."""
    yield from user_id(given, path, "fsGroup", "runAsUser", "runAsGroup")
    for index, group in enumerate(given.get("supplementalGroups") or ()):
        yield from between(group, f"{path}.supplementalGroups[{index}]", 0, 2**31 - 1)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid_value(f"{path}.shareProcessNamespace", True, why)  # noqa: FBT003 - the value that is wrong
    yield from _sysctls(given.get("sysctls") or (), spec, f"{path}.sysctls")
    yield from one_of(
        given.get("fsGroupChangePolicy"), f"{path}.fsGroupChangePolicy", ("Always", "OnRootMismatch")
    )
    yield from _seccomp(given.get("seccompProfile"), f"{path}.seccompProfile")
    yield from _app_armor(given.get("appArmorProfile"), f"{path}.appArmorProfile")
    yield from one_of(
        given.get("supplementalGroupsPolicy"), f"{path}.supplementalGroupsPolicy", ("Merge", "Strict")
    )


def host_users(spec: Obj, path: str) -> Found:
    """A pod with users of its own shares no other namespace with its host."""
    if spec.get("hostUsers") is not False:
        return
    for field, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(field):
            yield forbidden_field(f"{path}.{shown}", "when `pod.Spec.HostUsers` is false")


def of_container(given: Obj, path: str, spec: Obj) -> Found:
    """`securityContext` of a container."""
    yield from user_id(given, path, "runAsUser", "runAsGroup")
    mount = given.get("procMount")
    yield from one_of(mount, f"{path}.procMount", ("Default", "Unmasked"))
    if mount == "Unmasked" and spec.get("hostUsers", True):
        yield invalid_value(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`")
    yield from _seccomp(given.get("seccompProfile"), f"{path}.seccompProfile")
    if given.get("allowPrivilegeEscalation") is False:
        yield from _escalation(given, path)
    yield from _app_armor(given.get("appArmorProfile"), f"{path}.appArmorProfile")


def _escalation(given: Obj, path: str) -> Found:
    start = "cannot set `allowPrivilegeEscalation` to false and"
    if given.get("privileged"):
        yield invalid_value(path, go("SecurityContext", given), f"{start} `privileged` to true")
    if "CAP_SYS_ADMIN" in ((given.get("capabilities") or {}).get("add") or ()):
        yield invalid_value(path, go("SecurityContext", given), f"{start} `capabilities.Add` CAP_SYS_ADMIN")


def _seccomp(given: Obj | None, path: str) -> Found:
    if given is None:
        return
    kind, file = given.get("type", ""), given.get("localhostProfile")
    yield from one_of(kind, f"{path}.type", _PROFILES, absent="type is required when seccompProfile is set")
    if kind == "Localhost":
        if file is None:
            yield required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")
        else:
            yield from inside(file, f"{path}.localhostProfile")
    elif file is not None:
        why = "can only be set when seccomp type is Localhost"
        yield invalid_value(f"{path}.localhostProfile", {"Type": kind, "LocalhostProfile": file}, why)


def _app_armor(given: Obj | None, path: str) -> Found:
    if given is None:
        return
    kind, name = given.get("type", ""), given.get("localhostProfile")
    yield from one_of(kind, f"{path}.type", _PROFILES, absent="type is required when appArmorProfile is set")
    if kind == "Localhost":
        if name is None or not name.strip():
            yield required(f"{path}.localhostProfile", "must be set when AppArmor type is Localhost")
        elif name != name.strip():
            yield invalid_value(f"{path}.localhostProfile", name, "must not be padded with whitespace")
    elif kind in _PROFILES and name is not None:
        yield invalid_value(f"{path}.localhostProfile", name, "can only be set when AppArmor type is Localhost")


def _sysctls(given: Any, spec: Obj, path: str) -> Found:
    seen: set[str] = set()
    for index, setting in enumerate(given):
        name, where = setting.get("name", ""), f"{path}[{index}].name"
        if not name:
            yield required(where)
        elif len(name) > 253 or not _SYSCTL.fullmatch(name):
            yield invalid_value(where, name, _SAYS_SYSCTL)
        elif name in seen:
            yield duplicate(where, name)
        if spec.get("hostNetwork") and name.startswith("net."):
            yield invalid_value(where, name, "may not be specified when 'hostNetwork' is true")
        seen.add(name)


def operating_system(spec: Obj, path: str) -> Found:
    """The system a pod is for; nodes here are Linux."""
    if (given := spec.get("os")) is None:
        return
    if not given.get("name"):
        yield required(f"{path}.os.name", "cannot be empty")
    elif given["name"] not in {"linux", "windows"}:
        yield unsupported(f"{path}.os", given["name"], ("linux", "windows"))
