"""The node process of the CNI plugin (`weft install-cni`): installs it, answers it, and keeps pods captured."""
