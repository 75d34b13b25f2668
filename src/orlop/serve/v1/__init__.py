"""A registry of version 1, index and registry in one, over the same store (Docker Registry API v1)."""
