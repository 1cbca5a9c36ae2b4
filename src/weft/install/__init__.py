"""The manifests that put the mesh onto a cluster."""
