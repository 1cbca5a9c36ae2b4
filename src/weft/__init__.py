"""Weft: a service mesh and the pod networking under it."""
