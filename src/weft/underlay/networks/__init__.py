"""Networks of pods: which ones a pod asks for, and what their plugins are told."""
