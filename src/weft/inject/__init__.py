"""What a pod in the mesh gets: sidecar, init container, volumes."""
