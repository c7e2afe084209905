"""The exit statuses of the commands, besides 0."""

from __future__ import annotations

FAILED = 1  # something could not be done
WRONG_ARGUMENTS = 2  # as in argparse
INTERRUPTED = 130  # by Ctrl-C: 128 plus the signal's number, as in shells
TERMINATED = 143  # by SIGTERM
