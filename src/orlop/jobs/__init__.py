"""The jobs of Docker's engine, over a store."""
