"""Docker's engine jobs (2013 to 2015): work with a name, arguments, an environment and streams, like a process.

Pure: what jobs do is in `orlop.jobs`. docs/lineage.md says where this is stricter than the original.
"""
