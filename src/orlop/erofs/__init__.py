"""EROFS: metadata-only images over plain layer tars."""
