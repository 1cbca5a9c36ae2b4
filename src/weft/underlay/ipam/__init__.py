"""Addresses of pods: which pools they come from, who has them, and when they go back."""
