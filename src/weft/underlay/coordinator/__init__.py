"""The coordinator: what a pod's interfaces and its node are to have, so that every packet finds its way."""
