"""A Kubernetes API server, seen as a client."""
