"""Checks of callbacks."""

from __future__ import annotations

from whisperlite.errors import OptionError


def check_callable(name: str, callback: object) -> None:
    """Refuse a callback that cannot be called, before it would be called.

    Raises:
        OptionError: the callback is neither callable nor None.
    """
    if callback is not None and not callable(callback):
        raise OptionError(f"{name}={callback!r} cannot be called: give a function.", option=name)
