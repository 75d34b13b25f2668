"""Orlop: fetch container images from anywhere, keep them verified, mount them without unpacking."""

__version__ = "0.1.0"
