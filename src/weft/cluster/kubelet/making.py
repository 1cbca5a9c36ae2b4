"""Making one container of a pod: its volumes, its image, its environment, and the calls in their order."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weft.adapters.cri.types import Container, Mount, Resources, SandboxSpec
from weft.cluster.kubelet import aliases, environment, logs, podspec, quantity, volume_files, volumes
from weft.cluster.kubelet.images import Got
from weft.cluster.kubelet.objects import ConfigError, Objects, references
from weft.cluster.kubelet.station import Issued, Pod, Station
from weft.cluster.kubelet.volumes import Token

_HOSTS = Path("/etc/hosts")
_TERMINATION_LOG = "/dev/termination-log"
_MESSAGE = 4096  # bytes of a termination message that are kept
_ROTATE_AT = 0.8  # of a token's life (docs: service account token volume projection)


@dataclass(frozen=True, slots=True)
class Making:
    """A container to make: its spec, which try it is, its image, and the id of the container it looks into."""

    spec: dict[str, Any]
    attempt: int
    got: Got
    target: str = ""


class Maker:
    """Makes the containers of one pod. Volumes are kept up to date by calling `place_volumes` again."""

    def __init__(self, station: Station, pod: Pod) -> None:
        self._station = station
        self.pod = pod
        self._tokens: dict[Token, Issued] = {}
        self._places: dict[str, Path] = {}
        self._readonly: set[str] = set()
        self._folder = station.pod_folder(pod["metadata"]["uid"])

    @property
    def logs(self) -> Path:
        """The folder of the pod's logs."""
        return self._station.logs / podspec.log_folder(self.pod)

    def sandbox(self, attempt: int, handler: str = "") -> SandboxSpec:
        """The pod's sandbox; `handler` is what its RuntimeClass names."""
        cgroup = self._station.pod_cgroup(self.pod["metadata"]["uid"])
        made = podspec.sandbox(self.pod, attempt, str(self.logs), cgroup, self._station.dns)
        return replace(made, handler=handler)

    def rotate_at(self) -> float | None:
        """When the pod's tokens should be renewed, in epoch seconds."""
        times = [each.made + (each.ends - each.made) * _ROTATE_AT for each in self._tokens.values()]
        return min(times, default=None)

    async def place_volumes(self, pod_ip: str) -> None:
        """Make or update the volumes; ConfigError where one cannot be filled yet."""
        objects = await self._station.cluster.objects(references(self.pod))
        now = self._station.clock()
        for token in volumes.tokens(self.pod):
            held = self._tokens.get(token)
            if held is None or now >= held.made + (held.ends - held.made) * _ROTATE_AT:
                self._tokens[token] = await self._station.cluster.issue(self.pod, token)
        given = {token: issued.token for token, issued in self._tokens.items()}
        context = self.pod["spec"].get("securityContext") or {}
        group, unless_root = context.get("fsGroup"), context.get("fsGroupChangePolicy") == "OnRootMismatch"
        for volume in volumes.volumes(self.pod, pod_ip, self._station.node, objects, given):
            if isinstance(volume, volumes.Host):
                volume = replace(volume, path=self._station.on_node(volume.path))  # noqa: PLW2901 -- the same one
            if isinstance(volume, volumes.Tree) or (isinstance(volume, volumes.Host) and volume.readonly):
                # what the kubelet itself writes no container changes (Kubernetes 1.9.6)
                self._readonly.add(volume.name)
            self._places[volume.name] = volume_files.place(
                self._folder / "volumes", volume, group, unless_root=unless_root
            )

    async def make(self, making: Making, sandbox: str, within: SandboxSpec, ip: str) -> str:
        """Create a container; its id. The volumes must be in place. ConfigError or CriError."""
        station, spec, attempt, got = self._station, making.spec, making.attempt, making.got
        objects = await station.cluster.objects(references(self.pod))
        security = podspec.security(self.pod, spec, got.user, station.folder / "seccomp")
        variables = await self._environment(spec, ip, objects)
        mounts = list(self._mounts(spec, attempt, ip, variables))
        if got.alias is not None:
            mounts += _alias_mounts(got.alias, [mount.container_path for mount in mounts])
        prepared = podspec.Prepared(
            image=got.name,
            environment=variables,
            mounts=mounts,
            security=security,
            resources=self.limits(spec),
            target=making.target,
        )
        container = podspec.container(self.pod, spec, attempt, prepared)
        return await station.runtime.create_container(sandbox, container, within)

    def limits(self, spec: dict[str, Any]) -> Resources:
        """A container's limits as its spec has them now."""
        # the class of a pod is given with its first look, and stays when its containers are resized
        qos = (self.pod.get("status") or {}).get("qosClass") or quantity.qos_class(self.pod["spec"])
        return quantity.cgroup(spec.get("resources") or {}, qos, self._station.node.memory)

    def termination_message(self, spec: dict[str, Any], ended: Container) -> str:
        """What an ended container left in its termination log, or the end of its log where the policy says so."""
        file = self._termination_log(spec["name"], ended.attempt)
        text = file.read_bytes()[:_MESSAGE] if file.exists() else b""
        falls_back = spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not text and falls_back and ended.exit_code:
            text = logs.last_words(self.logs / spec["name"] / f"{ended.attempt}.log")
        return text.decode(errors="replace")

    async def _environment(self, spec: dict[str, Any], ip: str, objects: Objects) -> dict[str, str]:
        links = self.pod["spec"].get("enableServiceLinks", True)
        services = await self._station.cluster.services(self.pod["metadata"]["namespace"]) if links else ()
        told = environment.service_variables(services, self._station.api)
        return environment.variables(self.pod, spec, ip, self._station.node, objects, told)

    def _mounts(self, spec: dict[str, Any], attempt: int, ip: str, variables: dict[str, str]) -> Iterator[Mount]:
        mounted = set()
        for each in spec.get("volumeMounts") or ():
            within = each | {"readOnly": True} if each["name"] in self._readonly else each
            mount = podspec.mount(within, str(self._source(each, variables)))
            mounted.add(mount.container_path)
            yield mount
        hosts = self._hosts(ip)
        if "/etc/hosts" not in mounted and hosts:
            file = self._folder / "etc-hosts"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(hosts)
            yield Mount("/etc/hosts", str(file))
        log = self._termination_log(spec["name"], attempt)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        log.chmod(0o666)
        yield Mount(spec.get("terminationMessagePath") or _TERMINATION_LOG, str(log))

    def _hosts(self, ip: str) -> str:
        """The text of /etc/hosts; empty where the machine's own serves."""
        if not self.pod["spec"].get("hostNetwork"):
            return podspec.hosts_file(self.pod, ip, self._station.dns.domain)
        added = podspec.host_aliases(self.pod)
        head = "# Kubernetes-managed hosts file (host network)."
        return "\n".join((head, _HOSTS.read_text().rstrip("\n"), *added, "")) if added else ""

    def _source(self, mount: dict[str, Any], variables: dict[str, str]) -> Path:
        name = mount["name"]
        path = self._places.get(name)
        if path is None:
            raise ConfigError(f'volumeMount "{name}" names no volume of the pod')
        sub_path = environment.expand(mount.get("subPathExpr") or "", variables) or mount.get("subPath") or ""
        return volume_files.within(path, sub_path)

    def _termination_log(self, name: str, attempt: int) -> Path:
        return self._folder / "containers" / name / f"{attempt}-termination-log"


def _alias_mounts(alias: aliases.Alias, taken: list[str]) -> list[Mount]:
    import os

    paths = aliases.binds(alias, taken, os.path.exists, os.listdir)
    return [Mount(path, path, readonly=True) for path in paths]
