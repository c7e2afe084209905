"""Whether this process was forked off another, whose threads it lacks while libraries remember them."""

from __future__ import annotations

import os
import sys

_was_forked = False


def was_forked() -> bool:
    """Since whisperlite was imported, or by `multiprocessing` before that."""
    return _was_forked


def _note() -> None:
    global _was_forked
    _was_forked = True


def _by_multiprocessing() -> bool:
    multiprocessing = sys.modules.get("multiprocessing")  # whoever it forked off has it
    if multiprocessing is None or multiprocessing.parent_process() is None:
        return False
    own = getattr(multiprocessing.current_process(), "_start_method", None)  # None: the usual one
    return bool((own or multiprocessing.get_start_method(allow_none=True)) == "fork")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)
    if _by_multiprocessing():
        _note()
