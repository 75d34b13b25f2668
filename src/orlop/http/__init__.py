"""HTTP to registries: connections, retries, who may see which credential."""
