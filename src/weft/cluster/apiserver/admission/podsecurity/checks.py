"""The checks of the levels baseline and restricted, each by itself, in the words of Kubernetes.

A check gives the part of a pod's spec that it refuses: a reason and a detail, or None.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Obj = dict[str, Any]


class Refusal(NamedTuple):
    """Why a pod is not of a level, and where."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Check = Callable[[Obj], Refusal | None]
_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
_SYSCTLS = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    ]
)
_SELINUX = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)


def containers(spec: Obj) -> list[Obj]:
    """All containers of a pod, those that begin first first."""
    return [
        one for part in ("initContainers", "containers", "ephemeralContainers") for one in spec.get(part) or ()
    ]


def _context(holder: Obj) -> Obj:
    found: Obj = holder.get("securityContext") or {}
    return found


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _of(names: list[str]) -> str:
    """`container "a"` or `containers "a", "b"`."""
    return f"container{'s' if len(names) > 1 else ''} {_quoted(names)}"


def _where(spec: Obj, wrong: Callable[[Obj], bool]) -> list[str]:
    return [str(one.get("name", "")) for one in containers(spec) if wrong(_context(one))]


def _adds(context: Obj, allowed: frozenset[str]) -> list[str]:
    added = (context.get("capabilities") or {}).get("add") or ()
    return [str(one) for one in added if one not in allowed]


def _too_capable(spec: Obj, allowed: frozenset[str]) -> str:
    names = _where(spec, lambda context: bool(_adds(context, allowed)))
    extra = sorted({one for item in containers(spec) for one in _adds(_context(item), allowed)})
    what = f"must not include {_quoted(extra)} in securityContext.capabilities.add"
    return f"{_of(names)} {what}" if names else ""


def capabilities(spec: Obj) -> Refusal | None:
    """Nothing beyond the runtime's default set."""
    detail = _too_capable(spec, _CAPABILITIES)
    return Refusal("non-default capabilities", detail) if detail else None


def app_armor(spec: Obj) -> Refusal | None:
    """No container without AppArmor."""

    def wrong(context: Obj) -> bool:
        return (context.get("appArmorProfile") or {}).get("type") == "Unconfined"

    who = _who(spec, wrong)
    what = 'must not set AppArmor profile type to "Unconfined"'
    return Refusal("forbidden AppArmor profile", f"{who} {what}") if who else None


def host_namespaces(spec: Obj) -> Refusal | None:
    """No namespace of the node."""
    shared = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return Refusal("host namespaces", ", ".join(shared)) if shared else None


def host_paths(spec: Obj) -> Refusal | None:
    """No folder of the node."""
    names = [str(volume.get("name", "")) for volume in spec.get("volumes") or () if "hostPath" in volume]
    return (
        Refusal("hostPath volumes", f"volume{'s' if len(names) > 1 else ''} {_quoted(names)}") if names else None
    )


def host_ports(spec: Obj) -> Refusal | None:
    """No port of the node."""
    found = {
        str(one.get("name", "")): [port["hostPort"] for port in one.get("ports") or () if port.get("hostPort")]
        for one in containers(spec)
    }
    names = [name for name, ports in found.items() if ports]
    numbers = sorted({number for ports in found.values() for number in ports})
    if not names:
        return None
    verb = "use" if len(names) > 1 else "uses"
    listed = ", ".join(map(str, numbers))
    return Refusal("hostPort", f"{_of(names)} {verb} hostPort{'s' if len(numbers) > 1 else ''} {listed}")


def privileged(spec: Obj) -> Refusal | None:
    """No container that may do everything."""
    names = _where(spec, lambda context: context.get("privileged") is True)
    what = "must not set securityContext.privileged=true"
    return Refusal("privileged", f"{_of(names)} {what}") if names else None


def proc_mount(spec: Obj) -> Refusal | None:
    """/proc as runtimes mask it."""
    names = _where(spec, lambda context: context.get("procMount") not in {None, "", "Default"})
    kinds = sorted({str(_context(one)["procMount"]) for one in containers(spec) if _context(one).get("procMount")})
    what = f"must not set securityContext.procMount to {_quoted(kinds)}"
    return Refusal("procMount", f"{_of(names)} {what}") if names else None


def _who(spec: Obj, wrong: Callable[[Obj], bool]) -> str:
    """The pod, or which of its containers, say something wrong."""
    names = _where(spec, wrong)
    parts = ["pod"] if wrong(_context(spec)) else []
    return " and ".join(parts + ([_of(names)] if names else []))


def selinux(spec: Obj) -> Refusal | None:
    """Types of containers, and no user or role."""

    def wrong(context: Obj) -> bool:
        given = context.get("seLinuxOptions") or {}
        return bool(given.get("type", "") not in _SELINUX or given.get("user") or given.get("role"))

    who = _who(spec, wrong)
    if not who:
        return None
    given = [_context(one).get("seLinuxOptions") or {} for one in (spec, *containers(spec))]
    types = sorted({one["type"] for one in given if one.get("type", "") not in _SELINUX})
    said = [f"type{'s' if len(types) > 1 else ''} {_quoted(types)}"] if types else []
    said += [f"{name} may not be set" for name in ("user", "role") if any(one.get(name) for one in given)]
    return Refusal("seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(said)}")


def _seccomp(context: Obj) -> str:
    return str((context.get("seccompProfile") or {}).get("type") or "")


def seccomp(spec: Obj) -> Refusal | None:
    """Not without a profile of system calls."""
    who = _who(spec, lambda context: _seccomp(context) == "Unconfined")
    what = 'must not set securityContext.seccompProfile.type to "Unconfined"'
    return Refusal("seccompProfile", f"{who} {what}") if who else None


def sysctls(spec: Obj) -> Refusal | None:
    """Kernel settings of the pod alone."""
    names = [
        str(one.get("name")) for one in _context(spec).get("sysctls") or () if one.get("name") not in _SYSCTLS
    ]
    return Refusal("forbidden sysctls", ", ".join(names)) if names else None


def host_process(spec: Obj) -> Refusal | None:
    """No process of a Windows node."""
    who = _who(spec, lambda context: (context.get("windowsOptions") or {}).get("hostProcess") is True)
    what = "must not set securityContext.windowsOptions.hostProcess=true"
    return Refusal("hostProcess", f"{who} {what}") if who else None


def no_escalation(spec: Obj) -> Refusal | None:
    """No process gets more rights than its parent."""
    names = _where(spec, lambda context: context.get("allowPrivilegeEscalation") is not False)
    what = "must set securityContext.allowPrivilegeEscalation=false"
    return Refusal("allowPrivilegeEscalation != false", f"{_of(names)} {what}") if names else None


def few_capabilities(spec: Obj) -> Refusal | None:
    """All capabilities dropped; NET_BIND_SERVICE may be added."""
    keeping = _where(spec, lambda context: "ALL" not in ((context.get("capabilities") or {}).get("drop") or ()))
    details = [f'{_of(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    if extra := _too_capable(spec, frozenset({"NET_BIND_SERVICE"})):
        details.append(extra)
    return Refusal("unrestricted capabilities", "; ".join(details)) if details else None


def few_volumes(spec: Obj) -> Refusal | None:
    """Volumes that hold no more than the pod's own things."""
    bad: dict[str, list[str]] = {}
    for volume in spec.get("volumes") or ():
        sort = next((key for key in volume if key != "name"), "")
        if sort and sort not in _VOLUMES:
            bad.setdefault(sort, []).append(str(volume.get("name", "")))
    if not bad:
        return None
    names = [name for of in bad.values() for name in of]
    one = len(names) == 1
    types = f"restricted volume type{'' if len(bad) == 1 else 's'} {_quoted(sorted(bad))}"
    detail = f"volume{'' if one else 's'} {_quoted(names)} {'uses' if one else 'use'} {types}"
    return Refusal("restricted volume types", detail)


def not_root(spec: Obj) -> Refusal | None:
    """Nobody runs as root, and the pod says so."""
    said = _context(spec).get("runAsNonRoot")
    wrong = _where(spec, lambda context: context.get("runAsNonRoot") is False)
    silent = _where(spec, lambda context: context.get("runAsNonRoot") is None)
    details = ["pod must not set securityContext.runAsNonRoot=false"] if said is False and silent else []
    if wrong:
        details.append(f"{_of(wrong)} must not set securityContext.runAsNonRoot=false")
    if said is None and silent:
        details.append(f"pod or {_of(silent)} must set securityContext.runAsNonRoot=true")
    return Refusal("runAsNonRoot != true", "; ".join(details)) if details else None


def not_user_zero(spec: Obj) -> Refusal | None:
    """Nobody has the number of root."""
    who = _who(spec, lambda context: context.get("runAsUser") == 0)
    return Refusal("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def seccomp_set(spec: Obj) -> Refusal | None:
    """A profile of system calls, said by the pod or by each container."""
    good = {"RuntimeDefault", "Localhost"}
    said = _seccomp(_context(spec))
    wrong = _where(spec, lambda context: _seccomp(context) not in {"", *good})
    silent = _where(spec, lambda context: not _seccomp(context))
    details = []
    if said and said not in good and silent:
        details.append(f'pod must not set securityContext.seccompProfile.type to "{said}"')
    if wrong:
        kinds = sorted({_seccomp(_context(one)) for one in containers(spec)} - {"", *good})
        details.append(f"{_of(wrong)} must not set securityContext.seccompProfile.type to {_quoted(kinds)}")
    if not said and silent:
        wanted = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        details.append(f"pod or {_of(silent)} {wanted}")
    return Refusal("seccompProfile", "; ".join(details)) if details else None


def host_probes(spec: Obj) -> Refusal | None:
    """Probes and hooks go to the pod itself."""
    hosts: dict[str, list[str]] = {}
    for one in containers(spec):
        hooks = one.get("lifecycle") or {}
        handlers = [one.get(name) for name in ("livenessProbe", "readinessProbe", "startupProbe")]
        for handler in (*handlers, hooks.get("postStart"), hooks.get("preStop")):
            for sort in ("httpGet", "tcpSocket"):
                host = ((handler or {}).get(sort) or {}).get("host") or ""
                if host not in {"", "127.0.0.1", "::1"}:
                    hosts.setdefault(host, []).append(str(one.get("name", "")))
    if not hosts:
        return None
    names = list(dict.fromkeys(name for of in hosts.values() for name in of))
    verb = "use" if len(names) > 1 else "uses"
    listed = f"host{'s' if len(hosts) > 1 else ''} {_quoted(sorted(hosts))}"
    return Refusal("probe or lifecycle host", f"{_of(names)} {verb} probe or lifecycle {listed}")


BASELINE: tuple[Check, ...] = (
    app_armor,
    capabilities,
    host_namespaces,
    host_paths,
    host_ports,
    host_probes,
    privileged,
    proc_mount,
    selinux,
    seccomp,
    sysctls,
    host_process,
)
"""In the order of their names in Kubernetes."""
STRICTER: tuple[Check, ...] = (no_escalation, few_capabilities, few_volumes, not_root, not_user_zero, seccomp_set)
"""What restricted adds."""
REPLACED = frozenset({capabilities, host_paths, seccomp})
"""What restricted does in its own way."""


def refusals(level: str, spec: Obj) -> list[Refusal]:
    """Why a pod's spec is not of a level; nothing if it is."""
    match level:
        case "baseline":
            checks = BASELINE
        case "restricted":
            checks = (*(one for one in BASELINE if one not in REPLACED), *STRICTER)
        case _:
            checks = ()
    return [found for check in checks if (found := check(spec))]
