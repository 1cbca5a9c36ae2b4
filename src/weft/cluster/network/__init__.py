"""Service addresses and DNS on one node."""
