"""The init container that captures a pod's traffic, or sees that the CNI plugin has."""

from typing import Any

from weft.inject import container, environment
from weft.inject.annotations import Overrides
from weft.inject.settings import InjectSettings
from weft.model import interception
from weft.model.enrolment import INIT, VALIDATION
from weft.model.interception import Listeners, Owner

Container = dict[str, Any]


def name(overrides: Overrides, settings: InjectSettings) -> str:
    """What it is called; "" where nothing is captured."""
    if not overrides.interception.captures:
        return ""
    return VALIDATION if settings.cni else INIT


def init(
    owner: Owner, credentials: list[dict[str, Any]], overrides: Overrides, settings: InjectSettings
) -> Container:
    """`istio-init`: it writes the rules itself, and needs the right to change the pod's network."""
    return {
        **_container(owner, credentials, overrides, settings),
        "name": INIT,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": False,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
    }


def validation(
    owner: Owner, credentials: list[dict[str, Any]], overrides: Overrides, settings: InjectSettings
) -> Container:
    """`istio-validation`: it connects as the proxy would, and ends with 126 where no rules catch that.

    So a pod that the plugin has missed never starts. It needs no rights.
    """
    made = _container(owner, credentials, overrides, settings)
    return {
        **made,
        "args": [*made["args"], "--run-validation", "--skip-rule-apply"],
        "name": VALIDATION,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": owner.gid,
            "runAsNonRoot": True,
            "runAsUser": owner.uid,
        },
    }


def _container(
    owner: Owner, credentials: list[dict[str, Any]], overrides: Overrides, settings: InjectSettings
) -> Container:
    listeners = Listeners(settings.outbound_port, settings.inbound_port)
    return {
        "args": [
            "istio-iptables",
            *interception.arguments(overrides.interception, owner, listeners, overrides.status_port),
            f"--log_output_level={overrides.agent_log_level}",
        ],
        **({"env": own} if (own := environment.own(overrides)) else {}),
        "image": overrides.image,
        "imagePullPolicy": "IfNotPresent",
        "resources": container.resources(overrides.resources),
        **container.termination(),
        **({"volumeMounts": credentials} if credentials else {}),
    }
