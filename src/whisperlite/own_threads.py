"""The class of the threads that whisperlite starts, by which they are distinguished from the caller's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class OwnThread(threading.Thread):
    """A daemon thread started by whisperlite. It is recognised by this class, not by its name."""

    def __init__(self, name: str, work: Callable[..., object], *arguments: Any) -> None:
        super().__init__(target=work, args=arguments, name=f"whisperlite-{name}", daemon=True)
