"""The truth table of the selection: pods that differ by one line of it, each either captured or left alone.

The pods run as they are: their proxies are shells that wait. They belong into a namespace without injection.
"""

import copy
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

IMAGE = "centos:7.9.2009"
WAIT = ["tail", "-f", "/dev/null"]
INJECT, STATUS = "sidecar.istio.io/inject", "sidecar.istio.io/status"


@dataclass(frozen=True)
class Case:
    """`line` is the check of `weft.model.enrolment` meant; `reason` a part of why it is left, "" if captured."""

    line: str
    name: str
    pod: Json
    reason: str = ""
    excluded: bool = False
    """Whether its namespace is an excluded one."""


def pod(name: str) -> Json:
    """A pod that was injected: every check lets it pass. Its application is left out, for the machine's sake."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": {STATUS: "{}"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [container("istio-proxy")],
        },
    }


def container(name: str, *args: str, **fields: Any) -> Json:
    return {"name": name, "image": IMAGE, "command": [*WAIT], **({"args": [*args]} if args else {}), **fields}


def proxied(name: str, *args: str, **fields: Any) -> Json:
    """The pod with a proxy of these arguments, of which its shell takes no heed, or otherwise different."""
    made = pod(name)
    command = ["sh", "-c", "exec tail -f /dev/null", "proxy"]
    made["spec"]["containers"][0] |= {"command": command, "args": [*args], **fields}
    return made


def env(name: str, value: str) -> list[Json]:
    return [{"name": name, "value": value}]


def said(name: str, *, label: str = "", annotation: str = "") -> Json:
    made = pod(name)
    if label:
        made["metadata"]["labels"][INJECT] = label
    if annotation:
        made["metadata"]["annotations"][INJECT] = annotation
    return made


def started_by(name: str, init: Json) -> Json:
    made = pod(name)
    made["spec"]["initContainers"] = [init]
    return made


def _native(name: str) -> Json:
    made = started_by(name, container("istio-proxy", restartPolicy="Always"))
    made["spec"]["containers"] = [container("app")]
    return made


def _without_proxy(name: str) -> Json:
    made = pod(name)
    made["spec"]["containers"] = [container("app")]
    return made


def _without_status(name: str) -> Json:
    made = pod(name)
    del made["metadata"]["annotations"]
    return made


def _proxyless_application(name: str) -> Json:
    made = pod(name)
    made["spec"]["containers"].insert(0, container("app", env=env("DISABLE_ENVOY", "true")))
    return made


def _on_the_host(name: str) -> Json:
    made = pod(name)
    made["spec"]["hostNetwork"] = True
    return made


def _done(name: str) -> Json:
    return {**container(name), "command": ["true"]}


CASES = (
    Case("namespace", "usual", pod("usual")),
    Case("namespace", "of-an-excluded-namespace", pod("of-an-excluded-namespace"), "is excluded", excluded=True),
    Case("host network", "on-the-host", _on_the_host("on-the-host"), "host's network"),
    Case("istio-init", "other-init", started_by("other-init", _done("prepare"))),
    Case("istio-init", "with-validation", started_by("with-validation", _done("istio-validation"))),
    Case("istio-init", "own-init", started_by("own-init", _done("istio-init")), "istio-init"),
    Case("istio-proxy", "native", _native("native")),
    Case("istio-proxy", "no-proxy", _without_proxy("no-proxy"), "no container istio-proxy"),
    Case("proxyless", "envoy-kept", proxied("envoy-kept", env=env("DISABLE_ENVOY", "false"))),
    Case("proxyless", "application-without-envoy", _proxyless_application("application-without-envoy")),
    Case("proxyless", "no-envoy", proxied("no-envoy", env=env("DISABLE_ENVOY", "true")), "DISABLE_ENVOY"),
    Case("proxyless", "no-envoy-1", proxied("no-envoy-1", env=env("DISABLE_ENVOY", "1")), "DISABLE_ENVOY"),
    Case("role", "sidecar", proxied("sidecar", "proxy", "sidecar", "--domain", "x")),
    Case("role", "one-argument", proxied("one-argument", "proxy")),
    Case("role", "other-program", proxied("other-program", "sleep", "router")),
    Case("role", "router", proxied("router", "proxy", "router"), "router"),
    Case("role", "waypoint", proxied("waypoint", "proxy", "waypoint", "--domain", "x"), "waypoint"),
    Case("inject", "label-true", said("label-true", label="true")),
    Case("inject", "label-false", said("label-false", label="false"), f"label {INJECT}"),
    Case("inject", "annotation-true", said("annotation-true", annotation="true")),
    Case("inject", "annotation-false", said("annotation-false", annotation="false"), f"annotation {INJECT}"),
    Case("inject", "label-beats", said("label-beats", label="true", annotation="false")),
    Case("inject", "label-refuses", said("label-refuses", label="false", annotation="true"), f"label {INJECT}"),
    Case("status", "no-status", _without_status("no-status"), STATUS),
)
"""Both outcomes of each line."""


def manifest(case: Case, **metadata: Any) -> Json:
    """The pod of a case, to be changed freely."""
    made = copy.deepcopy(case.pod)
    made["metadata"] |= metadata
    return made
