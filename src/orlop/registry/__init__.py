"""Registries as sources: the version 2 / OCI distribution protocol."""
