"""The command line, thin over `orlop.store`."""
