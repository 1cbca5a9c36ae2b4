"""The weft command: istioctl's verbs and weft's own."""
