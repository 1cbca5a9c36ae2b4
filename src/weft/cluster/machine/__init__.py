"""Bringing a cluster up on one Linux machine, and taking it away without a trace."""
