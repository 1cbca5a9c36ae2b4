"""Pods on one node, by CRI."""
