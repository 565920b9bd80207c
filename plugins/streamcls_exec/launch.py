"""Sets limits on itself and becomes the command. Run as a programme, with Python's standard library alone.

The daemon has many threads, in which nothing may be done between fork and exec; so the limits are set here.
Arguments: seconds of processor time, bytes of address space, open files (0: leave it), then the command.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

__all__ = ["main"]

_NOT_STARTED = 127
"""Exit status where there is no such command, as shells have it."""


def _limit(what: int, value: int) -> None:
    """Lower a limit of this process and of all that it starts; never raise it."""
    _, hard = resource.getrlimit(what)
    if value and (hard == resource.RLIM_INFINITY or value < hard):
        resource.setrlimit(what, (value, value))


def main(arguments: list[str]) -> None:
    """Do it; does not return."""
    cpu_s, memory_bytes, open_files = map(int, arguments[:3])
    command = arguments[3:]
    # Python ignores these two, and what is ignored stays so over exec.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # nor would a signal that the daemon's thread blocks end it
    _limit(resource.RLIMIT_CPU, cpu_s)
    _limit(resource.RLIMIT_NOFILE, open_files)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_AS, memory_bytes)
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(_NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
