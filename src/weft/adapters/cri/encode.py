"""Our values as CRI messages."""

from weft.adapters.cri.descriptors import Message, Messages
from weft.adapters.cri.types import ContainerSpec, SandboxSpec

_NODE = 2  # NamespaceMode NODE
_CONTAINER = 1
_UNCONFINED = 1  # SecurityProfile.ProfileType


def sandbox_config(messages: Messages, spec: SandboxSpec) -> Message:
    """A sandbox as RunPodSandbox and CreateContainer take it."""

    def new(name: str) -> Message:
        return messages(f"runtime.v1.{name}")

    config = new("PodSandboxConfig")(
        metadata=new("PodSandboxMetadata")(
            name=spec.name, uid=spec.uid, namespace=spec.namespace, attempt=spec.attempt
        ),
        hostname=spec.hostname,
        log_directory=spec.log_directory,
        labels=dict(spec.labels),
        annotations=dict(spec.annotations),
        port_mappings=[
            new("PortMapping")(
                protocol=port.protocol,
                container_port=port.container_port,
                host_port=port.host_port,
                host_ip=port.host_ip,
            )
            for port in spec.ports
        ],
    )
    if spec.dns is not None:
        config.dns_config.servers.extend(spec.dns.servers)
        config.dns_config.searches.extend(spec.dns.searches)
        config.dns_config.options.extend(spec.dns.options)
    linux = config.linux
    linux.cgroup_parent = spec.cgroup_parent
    linux.sysctls.update(spec.sysctls)
    security = linux.security_context
    security.privileged = spec.privileged
    security.seccomp.profile_type = _UNCONFINED
    _namespaces(security.namespace_options, spec.host_network, spec.host_pid)
    return config


def container_config(messages: Messages, spec: ContainerSpec) -> Message:
    """A container as CreateContainer takes it."""

    def new(name: str) -> Message:
        return messages(f"runtime.v1.{name}")

    config = new("ContainerConfig")(
        metadata=new("ContainerMetadata")(name=spec.name, attempt=spec.attempt),
        image=new("ImageSpec")(image=spec.image),
        command=spec.command,
        args=spec.args,
        working_dir=spec.working_dir,
        envs=[new("KeyValue")(key=key, value=value) for key, value in spec.env],
        mounts=[
            new("Mount")(
                container_path=mount.container_path,
                host_path=mount.host_path,
                readonly=mount.readonly,
                propagation=mount.propagation,
            )
            for mount in spec.mounts
        ],
        labels=dict(spec.labels),
        annotations=dict(spec.annotations),
        log_path=spec.log,
        stdin=spec.stdin,
        stdin_once=spec.stdin_once,
        tty=spec.tty,
    )
    resources = config.linux.resources
    resources.cpu_shares = spec.resources.cpu_shares
    resources.cpu_period = spec.resources.cpu_period
    resources.cpu_quota = spec.resources.cpu_quota
    resources.memory_limit_in_bytes = spec.resources.memory
    resources.oom_score_adj = spec.resources.oom_score_adj
    _security(config.linux.security_context, spec)
    return config


def _security(security: Message, spec: ContainerSpec) -> None:
    wanted = spec.security
    security.capabilities.add_capabilities.extend(wanted.add_capabilities)
    security.capabilities.drop_capabilities.extend(wanted.drop_capabilities)
    security.privileged = wanted.privileged
    security.readonly_rootfs = wanted.readonly_rootfs
    security.no_new_privs = wanted.no_new_privs
    security.supplemental_groups.extend(wanted.supplemental_groups)
    security.seccomp.profile_type = _UNCONFINED
    if wanted.user is not None:
        security.run_as_user.value = wanted.user
    if wanted.group is not None:
        security.run_as_group.value = wanted.group
    security.namespace_options.pid = _CONTAINER


def _namespaces(options: Message, host_network: bool, host_pid: bool) -> None:  # noqa: FBT001, two plain facts
    options.pid = _NODE if host_pid else _CONTAINER
    if host_network:
        options.network = _NODE
