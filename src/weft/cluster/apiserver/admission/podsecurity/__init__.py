"""Pod Security: what a namespace's `pod-security.kubernetes.io` labels ask of its pods."""
