"""What CRI tells and takes, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

UID_LABEL = "io.kubernetes.pod.uid"
"""The label by which sandboxes and containers are found again."""

DIGEST = "io.kubernetes.container.hash"
"""The annotation of a container that tells which version of its spec it was made from."""


RUNTIME_DEFAULT = "runtime/default"
"""The runtime's own filter of system calls."""


class State(StrEnum):
    """Where a container is in its life (CRI ContainerState)."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


class Space(IntEnum):
    """Whose namespace a container or sandbox is in (CRI NamespaceMode)."""

    POD = 0
    CONTAINER = 1
    NODE = 2
    TARGET = 3


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The namespaces of a sandbox or container. `target` is the container whose processes TARGET shares."""

    network: Space = Space.POD
    pid: Space = Space.CONTAINER
    ipc: Space = Space.POD
    target: str = ""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod's network namespace and cgroup, as the runtime sees it. `created` in seconds since the epoch."""

    id: str
    uid: str
    name: str
    namespace: str
    attempt: int
    ready: bool
    created: float
    ip: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the runtime sees it. Times in seconds since the epoch, 0 where it has not come to that.

    `image_id` is the digest of its image; `exit_code`, `reason` and `message` speak only of an exited one.
    `made_from` is the annotation DIGEST: which version of its spec it was made from.
    """

    id: str
    uid: str
    sandbox: str
    name: str
    attempt: int
    state: State
    created: float
    started: float = 0.0
    finished: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image_id: str = ""
    log: str = ""
    made_from: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A path of the machine inside a container."""

    container_path: str
    host_path: str
    readonly: bool = False
    propagation: int = 0


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits as cgroups take them: microseconds of processor per `cpu_period`, shares, bytes. 0 is none."""

    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    memory: int = 0
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True)
class Security:
    """Who a container runs as, and what it may do. `user_name` counts where `user` is None."""

    user: int | None = None
    user_name: str = ""
    group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    privileged: bool = False
    readonly_rootfs: bool = False
    no_new_privs: bool = False
    seccomp: str = ""
    """The filter of system calls: none, RUNTIME_DEFAULT, or a profile's path."""


@dataclass(frozen=True, slots=True)
class Dns:
    """A pod's resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the node that leads to one of the pod. `protocol` as CRI numbers it: 0 TCP, 1 UDP, 2 SCTP."""

    protocol: int
    container_port: int
    host_port: int
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A sandbox to run."""

    name: str
    uid: str
    namespace: str
    attempt: int
    hostname: str
    log_directory: str
    cgroup_parent: str
    dns: Dns | None = None
    ports: tuple[PortMapping, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    namespaces: Namespaces = field(default_factory=Namespaces)
    privileged: bool = False
    handler: str = ""
    """The runtime's handler (a RuntimeClass names it); empty is its usual one."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to create. `log` is relative to the sandbox's log directory."""

    name: str
    attempt: int
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    security: Security = field(default_factory=Security)
    resources: Resources = field(default_factory=Resources)
    namespaces: Namespaces = field(default_factory=Namespaces)


@dataclass(frozen=True, slots=True)
class Login:
    """How to show a registry who asks."""

    user: str = ""
    password: str = ""
    identity_token: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the runtime has. `user` is what its configuration names, a uid or a name, or empty."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    user: str
    size: int
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container uses: seconds of processor time, bytes of its working set, `at` in epoch seconds.

    `used` and `resident` are bytes of memory with and without what files have cached; `written` and `inodes` are
    what its writable layer takes of the disk.
    """

    cpu: float
    memory: int
    at: float
    used: int = 0
    resident: int = 0
    written: int = 0
    inodes: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """What a command in a container answered."""

    exit_code: int
    stdout: bytes
    stderr: bytes
