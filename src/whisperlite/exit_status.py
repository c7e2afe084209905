"""Exit statuses of the commands."""

from __future__ import annotations

FAILED = 1  # something could not be done
WRONG_ARGUMENTS = 2  # as argparse has it
INTERRUPTED = 130  # by Ctrl-C: 128 and the number of the signal, as shells have it
TERMINATED = 143  # by SIGTERM
