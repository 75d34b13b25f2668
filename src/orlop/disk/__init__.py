"""The store's directory: one class for all file access, locks between processes, sessions."""
