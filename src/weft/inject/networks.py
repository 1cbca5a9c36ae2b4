"""The annotation by which Multus is told to run the CNI plugin for a pod."""

import json
from collections.abc import Mapping
from typing import Any, Final

from weft.inject.annotations import AnnotationError

ANNOTATION: Final = "k8s.v1.cni.cncf.io/networks"
_NAMESPACE, _NAME = "default", "istio-cni"
_OURS: Final = f"{_NAMESPACE}/{_NAME}"


def annotation(annotations: Mapping[str, str]) -> dict[str, str]:
    """The annotation with the plugin's network at its end. AnnotationError where the pod's own cannot be read."""
    return {ANNOTATION: with_ours(str(annotations.get(ANNOTATION, "")))}


def with_ours(text: str) -> str:
    """A list of networks, by comma or as JSON, with ours. A network of its name elsewhere is taken for it.

    >>> with_ours("")
    'default/istio-cni'
    >>> with_ours("kube-system/macvlan@net1")
    'kube-system/macvlan@net1, default/istio-cni'
    """
    # Multus' own way to tell the forms apart (pkg/k8sclient)
    if any(character in text for character in '[{"'):
        return _json(text)
    names = [part.strip() for part in text.split(",") if part.strip()]
    # somebody who brings the plugin's network in the pod's own namespace means the same plugin
    if any(name.partition("@")[0].rpartition("/")[2] == _NAME for name in names):
        return text
    return f"{text}, {_OURS}" if names else _OURS


def _json(text: str) -> str:
    networks: Any
    try:
        networks = json.loads(text)
    except ValueError:
        networks = None
    if not isinstance(networks, list) or not all(isinstance(one, dict) for one in networks):
        raise AnnotationError(
            f'annotation {ANNOTATION}: "{text}" is not a JSON list of objects. '
            'Write it as [{"name": "macvlan"}], or names by comma.'
        )
    if any(one.get("name") == _NAME for one in networks):
        return text
    return json.dumps([*networks, {"name": _NAME, "namespace": _NAMESPACE}])
