"""What is called back."""

from __future__ import annotations

from whisperlite.errors import OptionError


def check_callable(name: str, callback: object) -> None:
    """Refuse at once what cannot be called, not when it is called.

    Raises:
        OptionError: it is neither a function nor the like, nor None.
    """
    if callback is not None and not callable(callback):
        raise OptionError(f"{name}={callback!r} cannot be called: give a function.", option=name)
