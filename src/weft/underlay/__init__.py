"""Underlay networks: addresses, pools, attachments and routes of pods, as pure decisions."""
