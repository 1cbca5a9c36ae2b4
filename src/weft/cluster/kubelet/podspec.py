"""From a pod to what the runtime is asked to run: pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weft.adapters.cri.types import (
    UID_LABEL,
    ContainerSpec,
    Dns,
    Mount,
    PortMapping,
    Resources,
    SandboxSpec,
    Security,
)
from weft.cluster.kubelet.environment import expand
from weft.cluster.kubelet.objects import ConfigError

_PROTOCOLS = {"TCP": 0, "UDP": 1, "SCTP": 2}
_PROPAGATION = {"None": 0, "HostToContainer": 1, "Bidirectional": 2}
_ROOT = ("", "0", "root")


@dataclass(frozen=True, slots=True)
class ClusterDns:
    """The cluster's resolver and domain."""

    server: str = "10.96.0.10"
    domain: str = "cluster.local"


def pod_key(pod: Mapping[str, Any]) -> str:
    """`name_namespace(uid)`: what a pod is called in messages about it."""
    metadata = pod["metadata"]
    return f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"


def log_folder(pod: Mapping[str, Any]) -> str:
    """The name of the folder of a pod's logs."""
    metadata = pod["metadata"]
    return f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


def sandbox(pod: Mapping[str, Any], attempt: int, logs: str, cgroup_parent: str, dns: ClusterDns) -> SandboxSpec:
    """The sandbox of a pod. `logs` is the absolute folder of its logs."""
    metadata, spec = pod["metadata"], pod["spec"]
    context = spec.get("securityContext") or {}
    host_network = bool(spec.get("hostNetwork"))
    return SandboxSpec(
        name=metadata["name"],
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        attempt=attempt,
        hostname="" if host_network else hostname(pod),
        log_directory=logs,
        cgroup_parent=cgroup_parent,
        dns=resolver(spec, metadata["namespace"], dns),
        ports=() if host_network else tuple(_ports(spec)),
        labels=_labels(pod),
        sysctls={each["name"]: each["value"] for each in context.get("sysctls") or ()},
        host_network=host_network,
        host_pid=bool(spec.get("hostPID")),
        privileged=any((each.get("securityContext") or {}).get("privileged") for each in spec["containers"]),
    )


def hostname(pod: Mapping[str, Any]) -> str:
    """The pod's host name: what its spec says, or its own name as far as a host name may be long."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def resolver(spec: Mapping[str, Any], namespace: str, dns: ClusterDns) -> Dns | None:
    """The pod's resolv.conf; None leaves it the machine's (dnsPolicy, dnsConfig)."""
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    config = spec.get("dnsConfig") or {}
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy == "Default" and not config:
        return None
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    if policy.startswith("ClusterFirst"):
        servers, options = (dns.server,), ("ndots:5",)
        searches = (f"{namespace}.svc.{dns.domain}", f"svc.{dns.domain}", dns.domain)
    asked = {each["name"]: each.get("value") for each in config.get("options") or ()}
    kept = [option for option in options if option.partition(":")[0] not in asked]
    return Dns(
        servers=tuple(dict.fromkeys((*servers, *(config.get("nameservers") or ())))),
        searches=tuple(dict.fromkeys((*searches, *(config.get("searches") or ())))),
        options=(*kept, *(f"{name}:{value}" if value else name for name, value in asked.items())),
    )


def hosts_file(pod: Mapping[str, Any], pod_ip: str, domain: str) -> str:
    """The text of the pod's /etc/hosts."""
    spec, metadata = pod["spec"], pod["metadata"]
    name = hostname(pod)
    names = name
    if spec.get("subdomain"):
        names = f"{name}.{spec['subdomain']}.{metadata['namespace']}.svc.{domain}\t{name}"
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", f"{pod_ip}\t{names}"]
    lines.extend("\t".join((each["ip"], *(each.get("hostnames") or ()))) for each in spec.get("hostAliases") or ())
    return "# written by the kubelet\n" + "\n".join(lines) + "\n"


def security(pod: Mapping[str, Any], container: Mapping[str, Any], image_user: str) -> Security:
    """Who a container runs as; ConfigError where runAsNonRoot forbids it."""
    of_pod = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    both = {**of_pod, **own}
    user = both.get("runAsUser")
    if both.get("runAsNonRoot") and (user == 0 or (user is None and image_user.partition(":")[0] in _ROOT)):
        if user == 0:
            raise ConfigError("container's runAsUser breaks non-root policy")
        raise ConfigError("container has runAsNonRoot and image will run as root")
    capabilities = own.get("capabilities") or {}
    groups = [*(of_pod.get("supplementalGroups") or ())]
    if of_pod.get("fsGroup") is not None:
        groups.append(of_pod["fsGroup"])
    privileged = bool(own.get("privileged"))
    return Security(
        user=user,
        # the runtime takes a group only together with a user
        group=both.get("runAsGroup") if user is not None else None,
        supplemental_groups=tuple(groups),
        add_capabilities=tuple(capabilities.get("add") or ()),
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        privileged=privileged,
        readonly_rootfs=bool(own.get("readOnlyRootFilesystem")),
        no_new_privs=own.get("allowPrivilegeEscalation") is False and not privileged,
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """What must be known before a container can be made. `volumes` has where each volume lies."""

    image: str
    environment: Mapping[str, str]
    mounts: Sequence[Mount]
    security: Security
    resources: Resources


def container(pod: Mapping[str, Any], spec: Mapping[str, Any], attempt: int, prepared: Prepared) -> ContainerSpec:
    """A container of a pod, with `$(NAME)` in its words expanded."""
    environment = prepared.environment
    return ContainerSpec(
        name=spec["name"],
        attempt=attempt,
        image=prepared.image,
        command=tuple(expand(word, environment) for word in spec.get("command") or ()),
        args=tuple(expand(word, environment) for word in spec.get("args") or ()),
        working_dir=spec.get("workingDir") or "",
        env=tuple(environment.items()),
        mounts=tuple(prepared.mounts),
        labels=_labels(pod) | {"io.kubernetes.container.name": spec["name"]},
        annotations={"io.kubernetes.container.hash": digest(spec)},
        log=f"{spec['name']}/{attempt}.log",
        stdin=bool(spec.get("stdin")),
        stdin_once=bool(spec.get("stdinOnce")),
        tty=bool(spec.get("tty")),
        security=prepared.security,
        resources=prepared.resources,
    )


def mount(volume_mount: Mapping[str, Any], host_path: str) -> Mount:
    """A volumeMount onto where its volume lies."""
    path = str(volume_mount["mountPath"])
    return Mount(
        container_path=path if path == "/" else path.rstrip("/"),
        host_path=host_path,
        readonly=bool(volume_mount.get("readOnly")),
        propagation=_PROPAGATION.get(volume_mount.get("mountPropagation") or "None", 0),
    )


def digest(spec: Mapping[str, Any]) -> str:
    """A short hash of a container's spec: which version of it a running container was made from."""
    import json

    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:12]


def _labels(pod: Mapping[str, Any]) -> dict[str, str]:
    metadata = pod["metadata"]
    return {
        "io.kubernetes.pod.name": metadata["name"],
        "io.kubernetes.pod.namespace": metadata["namespace"],
        UID_LABEL: metadata["uid"],
    }


def _ports(spec: Mapping[str, Any]) -> list[PortMapping]:
    return [
        PortMapping(
            protocol=_PROTOCOLS.get(port.get("protocol") or "TCP", 0),
            container_port=port["containerPort"],
            host_port=port["hostPort"],
            host_ip=port.get("hostIP") or "",
        )
        for each in spec["containers"]
        for port in each.get("ports") or ()
        if port.get("hostPort")
    ]
