"""Whether this process may mount: CAP_SYS_ADMIN (capabilities(7))."""

from __future__ import annotations

from pathlib import Path

_CAP_SYS_ADMIN = 21


def may_not_mount() -> str:
    """Why this process cannot mount; "" if it can."""
    status = Path("/proc/self/status").read_text()
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return "" if int(effective, 16) >> _CAP_SYS_ADMIN & 1 else "mount: needs root (CAP_SYS_ADMIN)"
