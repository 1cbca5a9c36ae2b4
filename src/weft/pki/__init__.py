"""Certificates: the authority, what it issues and when it rotates. Keys, serials and time are arguments."""
