"""The way of a packet through network namespaces, as the kernel would send it."""
