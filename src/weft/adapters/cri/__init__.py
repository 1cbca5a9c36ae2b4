"""A container runtime, spoken to by CRI."""
