"""`python -m whisperlite`: the command line."""

from __future__ import annotations

import sys

from whisperlite.cli import main

if __name__ == "__main__":
    sys.exit(main())
