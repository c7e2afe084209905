"""The library as a service over HTTP: `whisperlite serve`. Needs the extra `server`.

In: a loaded model and `Settings`. Out: an ASGI application, from `create_app`. Each request becomes a job of one
shared `Pool`; this package handles HTTP and knows nothing about speech recognition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperlite.errors import MissingPackageError
from whisperlite.server.settings import Settings

if TYPE_CHECKING:
    from whisperlite.server.app import create_app

__all__ = ["Settings", "create_app"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name != "create_app":
            raise AttributeError(f"module 'whisperlite.server' has no attribute {name!r}")
        try:
            from whisperlite.server.app import create_app  # needs the packages of the extra
        except ImportError as error:
            raise missing_extra(error) from error
        return create_app


def missing_extra(error: ImportError) -> MissingPackageError:
    """The error to raise where a package of the extra `server` cannot be imported."""
    package = (error.name or "").partition(".")[0]
    return MissingPackageError(
        f"The service needs packages that are not installed ({package}): pip install 'whisperlite[server]'"
    )
