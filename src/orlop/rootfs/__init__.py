"""Root file systems: the drivers erofs, overlay and directory, and the mounts they make."""
