"""Files as sources: OCI layouts, OCI archives, docker-save archives."""
