"""Our values as CRI messages."""

from weft.adapters.cri import types
from weft.adapters.cri.descriptors import Message, Messages
from weft.adapters.cri.types import ContainerSpec, Namespaces, Resources, SandboxSpec

_DEFAULT, _UNCONFINED, _LOCALHOST = 0, 1, 2  # SecurityProfile.ProfileType


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
    _namespaces(security.namespace_options, spec.namespaces)
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
    fill_resources(config.linux.resources, spec.resources)
    _security(config.linux.security_context, spec)
    return config


def fill_resources(message: Message, resources: Resources) -> None:
    """A container's limits, when it is created and when they change."""
    message.cpu_shares = resources.cpu_shares
    message.cpu_period = resources.cpu_period
    message.cpu_quota = resources.cpu_quota
    message.memory_limit_in_bytes = resources.memory
    message.oom_score_adj = resources.oom_score_adj


def _security(security: Message, spec: ContainerSpec) -> None:
    wanted = spec.security
    security.capabilities.add_capabilities.extend(wanted.add_capabilities)
    security.capabilities.drop_capabilities.extend(wanted.drop_capabilities)
    security.privileged = wanted.privileged
    security.readonly_rootfs = wanted.readonly_rootfs
    security.no_new_privs = wanted.no_new_privs
    security.supplemental_groups.extend(wanted.supplemental_groups)
    match wanted.seccomp:
        case "":
            security.seccomp.profile_type = _UNCONFINED
        case types.RUNTIME_DEFAULT:
            security.seccomp.profile_type = _DEFAULT
        case profile:
            security.seccomp.profile_type = _LOCALHOST
            security.seccomp.localhost_ref = profile
    if wanted.user is not None:
        security.run_as_user.value = wanted.user
    elif wanted.user_name:
        security.run_as_username = wanted.user_name
    if wanted.group is not None:
        security.run_as_group.value = wanted.group
    _namespaces(security.namespace_options, spec.namespaces)


def _namespaces(options: Message, wanted: Namespaces) -> None:
    options.network, options.pid, options.ipc = wanted.network, wanted.pid, wanted.ipc
    options.target_id = wanted.target
