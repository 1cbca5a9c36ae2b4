"""What containerd and the CNI plugins of one node are told, as text: pure, for the machine's part to write."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAUSE_IMAGE = "weft.local/pause:1"
CNI_BIN = Path("/usr/lib/cni")
MIGRATE = "net.ipv4.tcp_migrate_req"
_LINE = 16 * 1024  # bytes: the longest log line before it is split into partial ones, as elsewhere
_SNAPSHOTTERS = ("btrfs", "zfs", "devmapper", "aufs")


@dataclass(frozen=True, slots=True)
class RuntimePaths:
    """Where one node's containerd lives.

    `home` lasts (HOME/nodes/NODE), `run` is for what does not outlive the machine's uptime (/run/weft/ID/NODE);
    the socket is there because a Unix socket's path has room for 107 bytes only.
    """

    home: Path
    run: Path

    @property
    def config(self) -> Path:
        """The config.toml to start containerd with."""
        return self.home / "containerd" / "config.toml"

    @property
    def root(self) -> Path:
        """Images and containers."""
        return self.home / "containerd" / "root"

    @property
    def state(self) -> Path:
        """Running tasks."""
        return self.run / "containerd"

    @property
    def runc(self) -> Path:
        """What runc itself keeps of running containers."""
        return self.run / "runc"

    @property
    def socket(self) -> Path:
        """CRI, and containerd's own API."""
        return self.run / "containerd.sock"

    @property
    def cni(self) -> Path:
        """What pods of the node find at /etc/cni and /opt/cni: `net.d` and `bin`."""
        return self.home / "cni"

    @property
    def cni_conf(self) -> Path:
        """The folder of the conflist, which is /etc/cni/net.d of the node."""
        return self.cni / "net.d"

    @property
    def cni_bin(self) -> Path:
        """The plugins, /opt/cni/bin of the node: the machine's, and what was installed on this node alone."""
        return self.cni / "bin"

    @property
    def cni_installed(self) -> tuple[Path, Path]:
        """Where what was installed on this node is kept, and the scratch folder for it."""
        return self.cni / "installed" / "bin", self.cni / "installed" / "work"

    @property
    def conflist(self) -> Path:
        """The pods' network as we wrote it."""
        return self.cni_conf / "10-weft.conflist"

    @property
    def written_conflist(self) -> Path:
        """A copy of it, which tells whether another has changed it since."""
        return self.config.with_name(self.conflist.name)

    @property
    def cni_state(self) -> Path:
        """host-local's record of the addresses given."""
        return self.home / "cni" / "state"


def containerd_config(paths: RuntimePaths) -> str:
    """The config.toml of containerd 1.6, to run inside the node's network namespace."""
    cri = '[plugins."io.containerd.grpc.v1.cri"'
    disabled = [f"io.containerd.snapshotter.v1.{name}" for name in _SNAPSHOTTERS]
    return "\n".join(
        (
            "version = 2",
            f"root = {_quoted(paths.root)}",
            f"state = {_quoted(paths.state)}",
            f"disabled_plugins = {json.dumps(disabled)}",
            "",
            "[grpc]",
            f"  address = {_quoted(paths.socket)}",
            "[ttrpc]",
            f"  address = {_quoted(paths.socket.with_suffix('.ttrpc'))}",
            "",
            f"{cri}]",
            f"  sandbox_image = {_quoted(PAUSE_IMAGE)}",
            "  # without CAP_SYS_RESOURCE a score below our own is refused",
            "  restrict_oom_score_adj = true",
            "  # exec, attach and port-forward: on the node's own loopback, for the kubelet only",
            '  stream_server_address = "127.0.0.1"',
            '  stream_server_port = "0"',
            "  enable_unprivileged_ports = true",
            "  enable_unprivileged_icmp = true",
            "  disable_apparmor = true",
            "  # not among the machine's named namespaces: whose they are must be plain even after a crash",
            "  netns_mounts_under_state_dir = true",
            f"  max_container_log_line_size = {_LINE}",
            f"  {cri}.cni]",
            f"    bin_dir = {_quoted(paths.cni_bin)}",
            f"    conf_dir = {_quoted(paths.cni_conf)}",
            "    max_conf_num = 1",
            f"  {cri}.containerd]",
            '    snapshotter = "overlayfs"',
            '    default_runtime_name = "runc"',
            f"    {cri}.containerd.runtimes.runc]",
            '      runtime_type = "io.containerd.runc.v2"',
            f"      {cri}.containerd.runtimes.runc.options]",
            "        SystemdCgroup = false",
            f"        Root = {_quoted(paths.runc)}",
            "",
        )
    )


def cni_conflist(cidr: str, state: Path | None = None, *, migrate: bool = True) -> dict[str, Any]:
    """The network of a node's pods: a pair of links each, routed, addresses of `cidr` in order, host ports.

    `state` is the folder where host-local notes who has which address (its own default if None). `migrate` lets
    connections that wait for a proxy which is started again go over to the new one (Linux 5.14 and later can).
    """
    ipam: dict[str, Any] = {
        "type": "host-local",
        "ranges": [[{"subnet": cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    if state is not None:
        ipam["dataDir"] = str(state)
    plugins: list[dict[str, Any]] = [
        # no masquerade: pods see each other's true addresses, and what leaves is the node's decision
        {"type": "ptp", "ipMasq": False, "mtu": 1500, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    ]
    if migrate:
        plugins.append({"type": "tuning", "sysctl": {MIGRATE: "1"}})
    return {"cniVersion": "1.0.0", "name": "weft", "plugins": plugins}


def _quoted(value: object) -> str:
    return json.dumps(str(value))
