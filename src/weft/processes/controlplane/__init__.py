"""istiod: the control plane of the mesh. `main` is its entry point."""

from weft.processes.controlplane.main import main

__all__ = ["main"]
