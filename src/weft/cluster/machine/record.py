"""HOME/cluster.json: what `weft up` made, for later runs of up, down and status."""

from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path

import msgspec

from weft.adapters import files
from weft.adapters.processes import Identity, identify
from weft.cluster.machine.layout import Layout

FORMAT = 1


class Started(msgspec.Struct, frozen=True):
    """A process: its number, and its start in clock ticks since boot."""

    pid: int
    started: int
    restarts: int = 0
    """How often the supervisor has started it again."""

    @property
    def identity(self) -> Identity:
        """The same, as the adapter names it."""
        return Identity(self.pid, self.started)


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """The cluster's choices, and its processes: `supervisor`, `apiserver`, `containerd-NODE`, `node-NODE`."""

    home: str
    id: str
    nodes: int
    pod_cidr: str
    service_cidr: str
    node_cidr: str
    api_port: int
    machine_namespace: int
    """The inode of the network namespace that is this cluster's machine."""
    processes: dict[str, Started] = {}
    upstreams: tuple[str, ...] = ()
    installed: str = ""
    """The version of the mesh that was installed; empty before."""
    underlay: bool = False
    underlay_installed: str = ""
    """The version of what makes underlay networks, and its values, that was installed; empty before."""
    values: tuple[str, ...] = ()
    """What was chosen of the underlay, in Helm's words."""
    format: int = FORMAT

    def layout(self) -> Layout:
        """The plan that the record tells of."""
        return Layout(
            home=Path(self.home),
            node_count=self.nodes,
            pods=IPv4Network(self.pod_cidr),
            services=IPv4Network(self.service_cidr),
            lan=IPv4Network(self.node_cidr),
            api_port=self.api_port,
            upstreams=self.upstreams,
            underlay=self.underlay,
        )


def of(layout: Layout, *, machine_namespace: int) -> Record:
    """A record of a plan that nothing was done for yet."""
    return Record(
        home=str(layout.home),
        id=layout.id,
        nodes=layout.node_count,
        pod_cidr=str(layout.pods),
        service_cidr=str(layout.services),
        node_cidr=str(layout.lan),
        api_port=layout.api_port,
        upstreams=layout.upstreams,
        underlay=layout.underlay,
        machine_namespace=machine_namespace,
    )


def started(held: Record | None, running: Mapping[str, Identity]) -> dict[str, Started]:
    """What runs now, for the record: what is known of a process stays, of a new one there is nothing yet."""
    known = held.processes if held else {}
    return {
        name: known[name] if name in known and known[name].identity == one else Started(one.pid, one.started)
        for name, one in sorted(running.items())
    }


def machine(home: Path) -> str:
    """The path of the machine's network namespace, through the API server, which lives in it; OSError without."""
    held = load(home)
    server = held.processes.get("apiserver") if held else None
    if held is None or server is None or identify(server.pid) != server.identity:
        raise ProcessLookupError("the API server does not run")
    return f"/proc/{server.pid}/ns/net"


def path(home: Path) -> Path:
    """Where a home's record is."""
    return home / "cluster.json"


def load(home: Path) -> Record | None:
    """The record, None where there is none that can be read (down works from names alone then)."""
    text = files.read(path(home))
    if text is None:
        return None
    try:
        record = msgspec.json.decode(text, type=Record)
        record.layout()
    except ValueError:
        return None
    return record


def save(home: Path, record: Record) -> None:
    """Write the record, whole or not at all."""
    files.write(path(home), msgspec.json.format(msgspec.json.encode(record), indent=2).decode() + "\n")
