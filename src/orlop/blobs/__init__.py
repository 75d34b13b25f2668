"""Bytes on disk: blobs, half-done downloads, derived files, and the locks around them."""
