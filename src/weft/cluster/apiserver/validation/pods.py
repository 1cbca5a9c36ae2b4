"""Pods and the pod templates in workloads."""

import copy
from collections.abc import Iterator
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, required
from weft.cluster.apiserver.validation import containers, resources, scheduling, security, volumes
from weft.cluster.apiserver.validation.differences import difference
from weft.cluster.apiserver.validation.rules import (
    Found,
    address,
    between,
    dns_label,
    one_of,
    qualified,
    reason,
)

Obj = dict[str, Any]
_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION = ("PreemptLowerPriority", "Never")
_LONGEST = 2**31 - 1
_SERVERS, _SEARCHES, _SEARCH_LENGTH = 3, 32, 2048
_CHANGEABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations`"
    " (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it"
    " was previously negative)"
)


def pod(obj: Obj) -> list[FieldError]:
    """What is wrong with a pod, whether it is new or not."""
    given = obj.get("spec") or {}
    return [*spec(given, "spec", is_pod=True), *_of_pods_alone(given)]


def _of_pods_alone(given: Obj) -> Iterator[FieldError]:
    yield from containers.trimmed(given.get("containers") or (), "spec.containers")
    yield from containers.trimmed(given.get("initContainers") or (), "spec.initContainers")


def new_pod(obj: Obj) -> list[FieldError]:
    """What a pod may not come with."""
    given, found = obj.get("spec") or {}, []
    if given.get("ephemeralContainers"):
        found.append(forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
    if given.get("nodeName") and given.get("schedulingGates"):
        found.append(forbidden_field("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return found


def pod_template(obj: Obj) -> list[FieldError]:
    """What is wrong with a PodTemplate."""
    return [*template(obj.get("template") or {}, "template")]


def template(given: Obj, path: str) -> Found:
    """A pod template: its labels, annotations and spec."""
    metadata = given.get("metadata") or {}
    yield from names.labels(metadata.get("labels") or {}, f"{path}.labels")
    yield from names.annotations(metadata.get("annotations") or {}, f"{path}.annotations")
    inner = given.get("spec") or {}
    yield from spec(inner, f"{path}.spec")
    if inner.get("ephemeralContainers"):
        yield forbidden_field(
            f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"
        )


def spec(given: Obj, path: str, *, is_pod: bool = False) -> Iterator[FieldError]:
    """What is wrong with a pod's spec; `path` is where it stands."""
    sound, wrong = volumes.volumes(given.get("volumes") or (), f"{path}.volumes")
    yield from wrong
    around = containers.Around(given, sound)
    yield from containers.regular(around, f"{path}.containers")
    yield from containers.init(around, f"{path}.initContainers")
    yield from containers.ephemeral(around, f"{path}.ephemeralContainers")
    yield from containers.on_host_network(given, path, pod=is_pod)
    yield from one_of(given.get("restartPolicy", "Always"), f"{path}.restartPolicy", _RESTART, absent="")
    yield from one_of(given.get("dnsPolicy", "ClusterFirst"), f"{path}.dnsPolicy", _DNS, absent="")
    yield from names.labels(given.get("nodeSelector") or {}, f"{path}.nodeSelector")
    yield from security.of_pod(given.get("securityContext") or {}, given, f"{path}.securityContext")
    yield from scheduling.affinity(given.get("affinity"), f"{path}.affinity")
    yield from _dns(given, f"{path}.dnsConfig")
    for index, gate in enumerate(given.get("readinessGates") or ()):
        yield from qualified(gate.get("conditionType", ""), f"{path}.readinessGates[{index}].conditionType")
    for index, gate in enumerate(given.get("schedulingGates") or ()):
        yield from qualified(gate.get("name", ""), f"{path}.schedulingGates[{index}]")
    yield from scheduling.spreading(
        given.get("topologySpreadConstraints") or (), f"{path}.topologySpreadConstraints"
    )
    yield from security.host_users(given, path)
    yield from _names(given, path)
    if (seconds := given.get("activeDeadlineSeconds")) is not None:
        yield from between(seconds, f"{path}.activeDeadlineSeconds", 1, _LONGEST)
    yield from _host_names(given, path)
    yield from scheduling.tolerations(given.get("tolerations") or (), f"{path}.tolerations")
    yield from _aliases(given, f"{path}.hostAliases")
    yield from _classes(given, path)
    if "overhead" in given:
        yield from resources.requirements({"limits": given["overhead"]}, f"{path}.overhead")
    yield from security.operating_system(given, path)


def _names(given: Obj, path: str) -> Found:
    for field in ("serviceAccountName", "nodeName"):
        if name := given.get(field):
            yield from reason(names.subdomain(name), f"{path}.{field}", name)


def _host_names(given: Obj, path: str) -> Found:
    for field in ("hostname", "subdomain"):
        if given.get(field):
            yield from dns_label(given[field], f"{path}.{field}")


def _classes(given: Obj, path: str) -> Found:
    for field in ("priorityClassName", "runtimeClassName"):
        if name := given.get(field):
            yield from reason(names.subdomain(name), f"{path}.{field}", name)
    yield from one_of(given.get("preemptionPolicy"), f"{path}.preemptionPolicy", _PREEMPTION)


def _aliases(given: Obj, path: str) -> Found:
    for index, alias in enumerate(given.get("hostAliases") or ()):
        yield from address(alias.get("ip", ""), f"{path}[{index}].ip")
        for number, name in enumerate(alias.get("hostnames") or ()):
            yield from reason(names.subdomain(name), f"{path}[{index}].hostnames[{number}]", name)


def _dns(given: Obj, path: str) -> Found:
    config = given.get("dnsConfig")
    if given.get("dnsPolicy") == "None":
        if config is None:
            yield required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.get("nameservers"):
            why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield required(f"{path}.nameservers", why)
            return
    yield from _dns_config(config or {}, path)


def _dns_config(config: Obj, path: str) -> Found:
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > _SERVERS:
        yield invalid_value(f"{path}.nameservers", servers, f"must not have more than {_SERVERS} nameservers")
    for index, server in enumerate(servers):
        yield from address(server, f"{path}.nameservers[{index}]")
    if len(searches) > _SEARCHES:
        yield invalid_value(f"{path}.searches", searches, f"must not have more than {_SEARCHES} search paths")
    if len(" ".join(searches)) > _SEARCH_LENGTH:
        why = f"must not have more than {_SEARCH_LENGTH} characters (including spaces) in the search list"
        yield invalid_value(f"{path}.searches", searches, why)
    for index, search in enumerate(searches):
        if search != ".":
            short = search.removesuffix(".")
            yield from reason(names.subdomain(short.replace("_", "a")), f"{path}.searches[{index}]", short)
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            yield required(f"{path}.options[{index}]", "must not be empty")


def debugged(obj: Obj, before: Obj) -> list[FieldError]:
    """Containers for debugging are added, and stay as they are."""
    new = {one.get("name"): one for one in (obj.get("spec") or {}).get("ephemeralContainers") or ()}
    found = pod(obj)
    for old in (before.get("spec") or {}).get("ephemeralContainers") or ():
        name, now = old.get("name"), new.get(old.get("name"))
        what = f'existing ephemeral containers "{name}" may not be'
        if now is None:
            found.append(forbidden_field("spec.ephemeralContainers", f"{what} removed\n"))
        elif now != old:
            shown = difference("EphemeralContainer", old, now)
            found.append(forbidden_field("spec.ephemeralContainers", f"{what} changed\n{shown}"))
    return found


def changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A pod's spec stays as it is but for images, deadlines and more tolerations."""
    new, old = obj.get("spec") or {}, before.get("spec") or {}
    for field in ("containers", "initContainers"):
        if len(new.get(field) or ()) != len(old.get(field) or ()):
            return [forbidden_field(f"spec.{field}", "pod updates may not add or remove containers")]
    found, stop = _deadline(new, old)
    if stop:
        return found
    found += _tolerations(new, old)
    found += _gates(new, old)
    kept = _unchangeable(new, old)
    if kept != old:
        why = f"pod updates may not change fields other than {_CHANGEABLE}\n{difference('PodSpec', old, kept)}"
        found.append(forbidden_field("spec", why))
    return found


def _deadline(new: Obj, old: Obj) -> tuple[list[FieldError], bool]:
    where, asked, had = (
        "spec.activeDeadlineSeconds",
        new.get("activeDeadlineSeconds"),
        old.get("activeDeadlineSeconds"),
    )
    if asked is None and had is not None:
        return [invalid_value(where, None, "must not update from a positive integer to nil value")], False
    if asked is None:
        return [], False
    if not 0 <= asked <= _LONGEST:
        return list(between(asked, where, 0, _LONGEST)), True
    if had is not None and had < asked:
        return [invalid_value(where, asked, "must be less than or equal to previous value")], True
    return [], False


def _tolerations(new: Obj, old: Obj) -> Found:
    def lasting(given: Obj) -> Obj:
        return {key: value for key, value in given.items() if key != "tolerationSeconds"}

    kept = [lasting(one) for one in new.get("tolerations") or ()]
    if any(lasting(one) not in kept for one in old.get("tolerations") or ()):
        why = "existing toleration can not be modified except its tolerationSeconds"
        yield forbidden_field("spec.tolerations", why)


def _gates(new: Obj, old: Obj) -> Found:
    had = {gate.get("name") for gate in old.get("schedulingGates") or ()}
    for index, gate in enumerate(new.get("schedulingGates") or ()):
        if gate.get("name") not in had:
            why = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            yield forbidden_field(f"spec.schedulingGates[{index}].name", why)


def _unchangeable(new: Obj, old: Obj) -> Obj:
    """The new spec with all that may change put back."""
    kept = copy.deepcopy(new)
    free = ["activeDeadlineSeconds", "tolerations", "schedulingGates"]
    if old.get("terminationGracePeriodSeconds", 0) < 0 and new.get("terminationGracePeriodSeconds") == 1:
        free.append("terminationGracePeriodSeconds")
    if old.get("schedulingGates"):  # a pod that waits may be sent to other nodes yet
        free += ("nodeSelector", "affinity")
    for field in free:
        kept.pop(field, None)
        if field in old:
            kept[field] = copy.deepcopy(old[field])
    for field in ("containers", "initContainers"):
        for container, was in zip(kept.get(field) or (), old.get(field) or (), strict=True):
            container["image"] = was.get("image", "")
    return kept
