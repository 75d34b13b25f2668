"""This store as a registry. Async lives only here."""
