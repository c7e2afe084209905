"""Whether this process was forked: it then lacks its parent's threads, which libraries still count on."""

from __future__ import annotations

import os
import sys

_was_forked = False


def was_forked() -> bool:
    """Whether the process was forked since whisperlite was imported, or by `multiprocessing` before that."""
    return _was_forked


def _note_fork() -> None:
    global _was_forked
    _was_forked = True


def _was_forked_by_multiprocessing() -> bool:
    multiprocessing = sys.modules.get("multiprocessing")  # imported already in a process that it forked
    if multiprocessing is None or multiprocessing.parent_process() is None:
        return False
    own = getattr(multiprocessing.current_process(), "_start_method", None)  # None: the default
    return bool((own or multiprocessing.get_start_method(allow_none=True)) == "fork")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
    if _was_forked_by_multiprocessing():
        _note_fork()
