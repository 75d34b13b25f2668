"""Credential helpers: the programs `docker-credential-NAME` (docker-credential-helpers, "get"), run with care."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from contextlib import suppress

from ..errors import Denied, Invalid, Unavailable
from ..model.limits import KIB
from ..model.strict_json import load_object

_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_SERVER = re.compile(r"[A-Za-z0-9.:/_\[\]-]+", re.ASCII)
# some ask a person or a cloud; a minute is what they get
TIMEOUT = 60.0
_OUTPUT_BYTES = 64 * KIB
# the two texts of docker-credential-helpers for "I have none"
_NONE = (b"credentials not found", b"no credentials server URL", b"no credentials username")


def ask(name: str, server: str, *, path: str, timeout: float = TIMEOUT) -> tuple[str, str] | None:
    """Username and secret for `server`, None if the helper has none. `path` is searched as $PATH, but for
    relative entries. A helper that is named but missing or broken is `Denied`, never passed over."""
    if _NAME.fullmatch(name) is None:
        raise Invalid(f"credential helper: name {name[:60]!r} is malformed")
    if _SERVER.fullmatch(server) is None:
        raise Invalid(f"credential helper: host {server[:80]!r} is malformed")
    program = f"docker-credential-{name}"
    status, output = _run(_find(program, path), server, program, timeout)
    if status != 0:
        if any(text in output for text in _NONE):
            return None
        # what it printed may hold a secret, so it is not shown
        raise Denied(f"credential helper {program}: failed with status {status} for {server}", hint="run it by hand")
    fields = load_object(output, what=f"credential helper {program}")
    username, secret = fields.get("Username"), fields.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise Invalid(f"credential helper {program}: gave no Username and Secret")
    return (username, secret) if secret else None


def _find(program: str, path: str) -> str:
    for folder in path.split(os.pathsep):
        candidate = os.path.join(folder, program)
        if os.path.isabs(folder) and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise Denied(f"credential helper {program}: not found in PATH", hint="install it, or remove it from the file")


def _run(program: str, server: str, name: str, timeout: float) -> tuple[int, bytes]:
    """Exit status and standard output, of at most 64 KiB; standard error is thrown away."""
    try:
        process = subprocess.Popen(
            [program, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise Denied(f"credential helper {name}: cannot be run: {(error.strerror or '').lower()}") from error
    with process:
        try:
            output = _talk(process, server.encode("ascii"), name, time.monotonic() + timeout)
            return process.wait(timeout), output
        except subprocess.TimeoutExpired:
            raise Unavailable(f"credential helper {name}: no answer within {timeout:g} s") from None
        finally:
            # with its children, who may hold the pipe open
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _talk(process: subprocess.Popen[bytes], request: bytes, name: str, deadline: float) -> bytes:
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise Denied(f"credential helper {name}: cannot be run")
    with suppress(BrokenPipeError):  # it did not want to know; its output and status decide
        os.write(stdin.fileno(), request)  # far below PIPE_BUF: it neither blocks nor comes apart
    stdin.close()
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise Unavailable(f"credential helper {name}: no answer in time")
            more = os.read(stdout.fileno(), _OUTPUT_BYTES)
            output += more
            if not more:
                return output
            if len(output) > _OUTPUT_BYTES:
                raise Invalid(f"credential helper {name}: printed more than {_OUTPUT_BYTES} bytes")
