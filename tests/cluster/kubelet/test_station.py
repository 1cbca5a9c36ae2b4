"""Where paths of a node lie on the machine."""

from pathlib import Path
from typing import Any, cast

import pytest

from weft.cluster.kubelet.station import Station

NOTHING = cast("Any", None)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/etc/cni/net.d", "/home/nodes/weft/cni/net.d"),
        ("/etc/cni/net.d/", "/home/nodes/weft/cni/net.d"),
        ("//etc/cni/./net.d", "/home/nodes/weft/cni/net.d"),
        ("/etc/cni/net.d/05-own.conf", "/home/nodes/weft/cni/net.d/05-own.conf"),
        ("/opt/cni/bin", "/home/nodes/weft/cni/bin"),
        ("/opt/cni", "/home/nodes/weft/cni"),
        ("/var/run/istio-cni", "/run/weft/abcdef/weft/istio-cni"),
        ("/run/istio-cni/pluginevent.sock", "/run/weft/abcdef/weft/istio-cni/pluginevent.sock"),
        ("/var/run/spidernet", "/run/weft/abcdef/weft/spidernet"),
        ("/var/lib/cni/multus", "/home/nodes/weft/cni/lib/multus"),
        ("/etc/cnix", "/etc/cnix"),
        ("/etc", "/etc"),
        ("/", "/"),
    ],
)
def test_a_node_has_its_own_plugins_and_networks_and_the_machines_files_otherwise(path: str, place: str) -> None:
    station = Station(
        runtime=NOTHING,
        images=NOTHING,
        cluster=NOTHING,
        recorder=NOTHING,
        node=NOTHING,
        folder=Path("/home/nodes/weft"),
        run=Path("/run/weft/abcdef/weft"),
        cgroup_parent="/weft",
        clock=lambda: 0.0,
    )

    assert station.on_node(path) == place
