"""From a pod to what the runtime is asked to run: pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.adapters.cri.types import (
    DIGEST,
    RUNTIME_DEFAULT,
    UID_LABEL,
    ContainerSpec,
    Dns,
    Mount,
    Namespaces,
    PortMapping,
    Resources,
    SandboxSpec,
    Security,
    Space,
)
from weft.cluster.kubelet.environment import expand
from weft.cluster.kubelet.objects import ConfigError

_PROTOCOLS = {"TCP": 0, "UDP": 1, "SCTP": 2}
_PROPAGATION = {"None": 0, "HostToContainer": 1, "Bidirectional": 2}
_ROOT = ("", "0", "root")
# docs: adding entries to pod /etc/hosts
_HOSTS = (
    "# Kubernetes-managed hosts file.",
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
)
_LONGEST_NAME, _LONGEST_FQDN = 63, 64


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
        hostname="" if host_network else hostname(pod, dns.domain),
        log_directory=logs,
        cgroup_parent=cgroup_parent,
        dns=resolver(spec, metadata["namespace"], dns),
        ports=() if host_network else tuple(_ports(spec)),
        labels=_labels(pod),
        sysctls={each["name"]: each["value"] for each in context.get("sysctls") or ()},
        namespaces=namespaces(spec),
        privileged=any((each.get("securityContext") or {}).get("privileged") for each in _all(spec)),
    )


def _all(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    sorts = ("initContainers", "containers", "ephemeralContainers")
    return [each for sort in sorts for each in spec.get(sort) or ()]


def namespaces(spec: Mapping[str, Any], target: str = "") -> Namespaces:
    """The namespaces of a pod's sandbox and containers; `target` is the id of a container to look into."""
    pid = Space.POD if spec.get("shareProcessNamespace") else Space.CONTAINER
    if spec.get("hostPID"):
        pid = Space.NODE
    elif target:
        pid = Space.TARGET
    return Namespaces(
        network=Space.NODE if spec.get("hostNetwork") else Space.POD,
        pid=pid,
        ipc=Space.NODE if spec.get("hostIPC") else Space.POD,
        target=target if pid is Space.TARGET else "",
    )


def short_hostname(pod: Mapping[str, Any]) -> str:
    """The pod's host name without a domain: what its spec says, or its own name as far as it may be long."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:_LONGEST_NAME].rstrip("-.")


def fqdn(pod: Mapping[str, Any], domain: str) -> str:
    """The pod's name in the cluster's DNS; empty for a pod without a subdomain."""
    spec = pod["spec"]
    if not spec.get("subdomain"):
        return ""
    return f"{short_hostname(pod)}.{spec['subdomain']}.{pod['metadata']['namespace']}.svc.{domain}"


def hostname(pod: Mapping[str, Any], domain: str) -> str:
    """What `hostname` answers in the pod; ConfigError where the whole name is asked for and too long."""
    full = fqdn(pod, domain) if pod["spec"].get("setHostnameAsFQDN") else ""
    if len(full) > _LONGEST_FQDN:
        raise ConfigError(
            f"Failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
            f"({_LONGEST_FQDN} characters is the max, {len(full)} characters requested)"
        )
    return full or short_hostname(pod)


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
    names = "\t".join(name for name in (fqdn(pod, domain), short_hostname(pod)) if name)
    lines = [*_HOSTS, f"{pod_ip}\t{names}", *host_aliases(pod)]
    return "\n".join(lines) + "\n"


def host_aliases(pod: Mapping[str, Any]) -> list[str]:
    """The lines of /etc/hosts that `hostAliases` asks for, under their heading."""
    wanted = pod["spec"].get("hostAliases") or ()
    lines = ["\t".join((each["ip"], *(each.get("hostnames") or ()))) for each in wanted]
    return ["", "# Entries added by HostAliases.", *lines] if lines else []


def security(pod: Mapping[str, Any], container: Mapping[str, Any], image_user: str, profiles: Path) -> Security:
    """Who a container runs as; ConfigError where runAsNonRoot forbids it. `profiles` has those of seccomp."""
    of_pod = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    both = {**of_pod, **own}
    user = both.get("runAsUser")
    if both.get("runAsNonRoot") and (trouble := _root_trouble(user, image_user.partition(":")[0])):
        raise ConfigError(f'{trouble} (pod: "{pod_key(pod)}", container: {container["name"]})')
    user, user_name = _user(user, both.get("runAsGroup"), image_user.partition(":")[0])
    capabilities = own.get("capabilities") or {}
    groups = [*(of_pod.get("supplementalGroups") or ())]
    if of_pod.get("fsGroup") is not None:
        groups.append(of_pod["fsGroup"])
    privileged = bool(own.get("privileged"))
    return Security(
        user=user,
        user_name=user_name,
        group=both.get("runAsGroup"),
        supplemental_groups=tuple(groups),
        add_capabilities=tuple(capabilities.get("add") or ()),
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        privileged=privileged,
        readonly_rootfs=bool(own.get("readOnlyRootFilesystem")),
        no_new_privs=own.get("allowPrivilegeEscalation") is False and not privileged,
        seccomp="" if privileged else _seccomp(both.get("seccompProfile") or {}, profiles),
    )


def _seccomp(profile: Mapping[str, Any], profiles: Path) -> str:
    match profile.get("type"):
        case "RuntimeDefault":
            return RUNTIME_DEFAULT
        case "Localhost":
            return str(profiles / str(profile.get("localhostProfile") or ""))
        case _:
            return ""


def _root_trouble(user: int | None, image_user: str) -> str:
    """Why a container that must not run as root would, or might; empty if it does not."""
    if user == 0:
        return "container's runAsUser breaks non-root policy"
    if user is not None or (image_user.isdigit() and int(image_user)):
        return ""
    if image_user in _ROOT:
        return "container has runAsNonRoot and image will run as root"
    unknown = f"image has non-numeric user ({image_user}), cannot verify user is non-root"
    return f"container has runAsNonRoot and {unknown}"


def _user(user: int | None, group: int | None, image_user: str) -> tuple[int | None, str]:
    """The user to name to the runtime, which takes a group only together with one."""
    if user is not None or group is None:
        return user, ""
    if image_user and not image_user.isdigit():
        return None, image_user
    return int(image_user or 0), ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What must be known before a container can be made. `target` is the container it looks into, or empty."""

    image: str
    environment: Mapping[str, str]
    mounts: Sequence[Mount]
    security: Security
    resources: Resources
    target: str = ""


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
        annotations={DIGEST: digest(spec)},
        log=f"{spec['name']}/{attempt}.log",
        stdin=bool(spec.get("stdin")),
        stdin_once=bool(spec.get("stdinOnce")),
        tty=bool(spec.get("tty")),
        security=prepared.security,
        resources=prepared.resources,
        namespaces=namespaces(pod["spec"], prepared.target),
    )


def mount(volume_mount: Mapping[str, Any], host_path: str) -> Mount:
    """A volumeMount onto where its volume lies; ConfigError for what the runtime cannot do."""
    if volume_mount.get("recursiveReadOnly") == "Enabled":
        raise ConfigError(
            f'failed to resolve recursive read-only mode: volume "{volume_mount["name"]}" requested recursive '
            "read-only mode, but it is not supported by the runtime"
        )
    path = str(volume_mount["mountPath"])
    return Mount(
        container_path=path if path == "/" else path.rstrip("/"),
        host_path=host_path,
        readonly=bool(volume_mount.get("readOnly")),
        propagation=_PROPAGATION.get(volume_mount.get("mountPropagation") or "None", 0),
    )


def digest(spec: Mapping[str, Any]) -> str:
    """A short hash of what of a container cannot change while it runs: its name and its image."""
    return hashlib.sha256(f"{spec['name']} {spec['image']}".encode()).hexdigest()[:12]


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
