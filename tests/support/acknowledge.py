"""python -m tests.support.acknowledge COMMANDS: command lines of `orlop`, as JSON, one after the other in one process.

Says "acknowledged: N" once the N-th has told success. Starting Python anew for each takes a second in a machine
inside a machine.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from orlop.cli.app import App
from orlop.cli.main import run

for number, arguments in enumerate(json.loads(sys.argv[1])):
    with contextlib.redirect_stdout(io.StringIO()):
        status = run(arguments, App(environment={"HOME": "/run"}))
    if status:
        raise SystemExit(f"{arguments}: {status}")
    print(f"acknowledged: {number}", flush=True)
