"""Which driver: the best that works on this machine, or the one that was asked for."""

from __future__ import annotations

from ..errors import Denied, Unsupported, Usage
from ..ports import Derived, Driver
from .erofs import ErofsDriver
from .overlay import OverlayDriver
from .plain import DirectoryDriver
from .privilege import may_not_mount

AUTO = "auto"


def choose(name: str, derived: Derived) -> tuple[Driver, str]:
    """The driver `name`, or for "auto" the first of erofs, overlay, directory that works here.

    The text says why a better one does not, "" if the best was chosen or one was asked for. `Denied` without the right
    to mount, `Unsupported` with the reason if it cannot work; `Usage` if there is no such driver.
    """
    drivers: tuple[Driver, ...] = (ErofsDriver(derived), OverlayDriver(derived), DirectoryDriver(derived))
    names = [driver.name for driver in drivers]
    if name != AUTO and name not in names:
        raise Usage(f"driver {name!r}: expected one of {AUTO}, {', '.join(names)}")
    hint = "`orlop unpack` writes the tree into a directory without mounting"
    if reason := may_not_mount():
        raise Denied(reason, hint=hint)  # whichever driver
    reasons: list[str] = []
    for driver in drivers:
        if name not in (AUTO, driver.name):
            continue
        reason = driver.unable()
        if not reason:
            return driver, "; ".join(reasons)
        reasons.append(f"{driver.name}: {reason}")
    raise Unsupported(f"driver {'; '.join(dict.fromkeys(reasons))}", hint=hint)
