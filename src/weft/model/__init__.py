"""What the mesh knows: services, workloads, routing and traffic policy; snapshots and views of them."""
