"""The loops that make objects true."""
