"""The one-machine Kubernetes. The mesh never imports it."""
