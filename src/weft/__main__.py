"""`weft`: the processes of a cluster by their names, and everything else by the command line's app.

A process imports nothing but itself: an agent is in every pod, and starts in the time that a pod starts.
"""

import importlib
import sys

PROCESSES = {
    "agent": "weft.processes.agent",
    "controlplane": "weft.processes.controlplane",
    "apiserver": "weft.processes.apiserver",
    "node": "weft.processes.node",
    "supervisor": "weft.processes.supervisor",
    "outside": "weft.processes.outside",
    "install-cni": "weft.processes.cni.main",
    "spiderpool-controller": "weft.processes.underlay_controller.main",
    "spiderpool-agent": "weft.processes.underlay.main",
    "istio-iptables": "weft.processes.istio_iptables",
    "spiderpool-init": "weft.processes.spiderpool_init",
}


def main() -> None:
    """Run what the first argument names."""
    name, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    # `weft node list` is for people; the process of that name is only ever given options
    for_people = name == "node" and (not rest or not rest[0].startswith("--") or rest[0] == "--help")
    if (module := PROCESSES.get(name)) and not for_people:
        sys.exit(importlib.import_module(module).main(rest))
    from weft.cli.main import app

    app()(prog_name="weft")


if __name__ == "__main__":
    main()
