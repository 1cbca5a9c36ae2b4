"""The outside world: Kubernetes, gRPC, Envoy, containers, kernel, files, clock."""
