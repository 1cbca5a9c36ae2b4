"""What a pod refers to (ConfigMaps, Secrets, claims), at one moment: a value that pure code reads."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

CLAIM, VOLUME = "PersistentVolumeClaim", "PersistentVolume"


class ConfigError(Exception):
    """A pod asks for something that is not there (yet); the message is for the pod's status and events."""


class Reference(NamedTuple):
    """An object that a pod uses: kind (`ConfigMap`, `Secret`, CLAIM; VOLUME comes with it), namespace and name."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects that were found, and the volumes of the claims among them. What is not here does not exist."""

    found: Mapping[Reference, Mapping[str, Any]] = field(default_factory=dict)

    def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """An object, or None where there is none."""
        return self.found.get(Reference(kind, namespace, name))


def data_of(obj: Mapping[str, Any]) -> dict[str, bytes]:
    """The entries of a ConfigMap (`data`, `binaryData`) or a Secret (`data`, base64)."""
    if obj.get("kind") == "Secret":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    plain = {key: str(value).encode() for key, value in (obj.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def claim_name(pod: Mapping[str, Any], volume: Mapping[str, Any]) -> str:
    """The claim that a volume stands for; empty for other volumes. An `ephemeral` one is named after its pod."""
    if volume.get("ephemeral") is not None:
        return f"{pod['metadata']['name']}-{volume['name']}"
    return str((volume.get("persistentVolumeClaim") or {}).get("claimName") or "")


def references(pod: Mapping[str, Any]) -> frozenset[Reference]:
    """Every ConfigMap, Secret and claim that the pod's volumes, environments and images need."""
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    names: set[Reference] = set()

    def add(kind: str, name: str | None) -> None:
        if name:
            names.add(Reference(kind, namespace, name))

    for secret in spec.get("imagePullSecrets") or ():
        add("Secret", secret.get("name"))
    for volume in spec.get("volumes") or ():
        add("ConfigMap", (volume.get("configMap") or {}).get("name"))
        add("Secret", (volume.get("secret") or {}).get("secretName"))
        add(CLAIM, claim_name(pod, volume))
        for source in (volume.get("projected") or {}).get("sources") or ():
            add("ConfigMap", (source.get("configMap") or {}).get("name"))
            add("Secret", (source.get("secret") or {}).get("name"))
    sorts = ("containers", "initContainers", "ephemeralContainers")
    for container in (each for sort in sorts for each in spec.get(sort) or ()):
        for source in container.get("envFrom") or ():
            add("ConfigMap", (source.get("configMapRef") or {}).get("name"))
            add("Secret", (source.get("secretRef") or {}).get("name"))
        for entry in container.get("env") or ():
            value = entry.get("valueFrom") or {}
            add("ConfigMap", (value.get("configMapKeyRef") or {}).get("name"))
            add("Secret", (value.get("secretKeyRef") or {}).get("name"))
    return frozenset(names)
