"""The Kubernetes API: store, verbs, encodings, admission, access."""
