"""The node process of the mesh: it installs the CNI plugin, answers it, and repairs what slipped out."""
