"""The threads that whisperlite starts, told from those of its callers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class OwnThread(threading.Thread):
    """A thread of ours, which keeps no program alive. Its class tells it from the threads of others, not its name."""

    def __init__(self, name: str, work: Callable[..., object], *arguments: Any) -> None:
        super().__init__(target=work, args=arguments, name=f"whisperlite-{name}", daemon=True)
