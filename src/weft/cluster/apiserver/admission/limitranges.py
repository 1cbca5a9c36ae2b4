"""LimitRanges: what containers get who ask for nothing, and what nobody may ask for (`admission/limitranger`)."""

from collections.abc import Iterator, Mapping

from weft.cluster.apiserver import amounts, errors
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.amounts import Amount, Amounts
from weft.cluster.apiserver.cluster import Cluster, Obj

_ANNOTATION = "kubernetes.io/limit-ranger"


def _items(cluster: Cluster, namespace: str) -> list[Obj]:
    rows = cluster.store.rows("/limitranges", namespace) if namespace else []
    return [item for row in rows for item in (row.decode().get("spec") or {}).get("limits") or ()]


def admit(pod: Obj, namespace: str, cluster: Cluster) -> None:
    """Give containers the default requests and limits, in place, and note it on the pod."""
    items = [item for item in _items(cluster, namespace) if item.get("type") == "Container"]
    notes: list[str] = []
    for field, what in (("initContainers", "init container"), ("containers", "container")):
        for container in pod["spec"].get(field) or ():
            for item in items:
                notes += _completed(container, item, what)
    if notes:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations.setdefault(_ANNOTATION, "LimitRanger plugin set: " + "; ".join(notes))


def _completed(container: Obj, item: Obj, what: str) -> Iterator[str]:
    for side, source in (("requests", "defaultRequest"), ("limits", "default")):
        defaults = item.get(source) or {}
        held = (container.get("resources") or {}).get(side) or {}
        lacking = {name: value for name, value in defaults.items() if name not in held}
        if lacking:
            container.setdefault("resources", {})[side] = {**held, **lacking}
            yield f"{', '.join(sorted(lacking))} {side[:-1]} for {what} {container.get('name', '')}"


def check(attributes: Attributes, cluster: Cluster) -> None:
    """Refuse a pod or a claim that asks for less or more than its namespace allows."""
    call, obj = attributes.call, attributes.obj
    new = attributes.operation == "CREATE"
    if call.kind.group or obj is None or attributes.operation == "DELETE":
        return
    match call.kind.plural, call.subresource:
        case "pods", "" if new:
            found = list(_pod(obj, _items(cluster, call.namespace)))
        case "pods", "resize":
            found = list(_pod(obj, _items(cluster, call.namespace)))
        case "persistentvolumeclaims", "":
            found = list(_claim(obj, _items(cluster, call.namespace)))
        case _:
            return
    said = list(dict.fromkeys(found))
    if said:
        why = said[0] if len(said) == 1 else "[" + ", ".join(said) + "]"
        raise errors.forbidden(call.kind, attributes.name, why)


def _pod(pod: Obj, items: list[Obj]) -> Iterator[str]:
    spec = pod["spec"]
    for item in items:
        if item.get("type") == "Container":
            for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
                resources = container.get("resources") or {}
                both = amounts.read(resources.get("requests")), amounts.read(resources.get("limits"))
                yield from _bounds(item, *both)
        elif item.get("type") == "Pod":
            yield from _bounds(item, amounts.of_pod(pod, "requests"), amounts.of_pod(pod, "limits"))


def _claim(claim: Obj, items: list[Obj]) -> Iterator[str]:
    requests = amounts.read(((claim.get("spec") or {}).get("resources") or {}).get("requests"))
    for item in items:
        if item.get("type") == "PersistentVolumeClaim":
            for name, least in amounts.read(item.get("min")).items():
                yield from _least("PersistentVolumeClaim", name, least, requests, {})
            for name, most in amounts.read(item.get("max")).items():
                yield from _most_requested(name, most, requests)


def _bounds(item: Obj, requests: Amounts, limits: Amounts) -> Iterator[str]:
    sort = str(item["type"])
    for name, least in amounts.read(item.get("min")).items():
        yield from _least(sort, name, least, requests, limits)
    for name, most in amounts.read(item.get("max")).items():
        yield from _most(sort, name, most, requests, limits)
    for name, ratio in amounts.read(item.get("maxLimitRequestRatio")).items():
        yield from _ratio(sort, name, ratio, requests, limits)


def _least(
    sort: str, name: str, least: Amount, requests: Mapping[str, Amount], limits: Mapping[str, Amount]
) -> Iterator[str]:
    bound = f"minimum {name} usage per {sort} is {least}"
    if name not in requests:
        yield f"{bound}.  No request is specified"
    elif requests[name].value < least.value:
        yield f"{bound}, but request is {requests[name]}"
    elif name in limits and limits[name].value < least.value:
        yield f"{bound}, but limit is {limits[name]}"


def _most(
    sort: str, name: str, most: Amount, requests: Mapping[str, Amount], limits: Mapping[str, Amount]
) -> Iterator[str]:
    bound = f"maximum {name} usage per {sort} is {most}"
    if name not in limits:
        yield f"{bound}.  No limit is specified"
    elif limits[name].value > most.value:
        yield f"{bound}, but limit is {limits[name]}"
    elif name in requests and requests[name].value > most.value:
        yield f"{bound}, but request is {requests[name]}"


def _most_requested(name: str, most: Amount, requests: Mapping[str, Amount]) -> Iterator[str]:
    bound = f"maximum {name} usage per PersistentVolumeClaim is {most}"
    if name not in requests:
        yield f"{bound}.  No request is specified"
    elif requests[name].value > most.value:
        yield f"{bound}, but request is {requests[name]}"


def _ratio(
    sort: str, name: str, ratio: Amount, requests: Mapping[str, Amount], limits: Mapping[str, Amount]
) -> Iterator[str]:
    bound = f"{name} max limit to request ratio per {sort} is {ratio}"
    request, limit = requests.get(name, Amount()).value, limits.get(name, Amount()).value
    if not request:
        yield f"{bound}, but no request is specified or request is 0"
    elif not limit:
        yield f"{bound}, but no limit is specified or limit is 0"
    elif limit / request > ratio.value:
        yield f"{bound}, but provided ratio is {float(limit / request):f}"
