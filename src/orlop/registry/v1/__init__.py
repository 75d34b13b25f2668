"""Registries of version 1 (Docker 2013 to 2016): an index that names endpoints and gives tokens, images by ID."""
