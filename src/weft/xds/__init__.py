"""Envoy configuration, built from frozen inputs; the stream that delivers it."""
