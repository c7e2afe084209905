"""The library as a service over HTTP: `whisperlite serve`. Needs the extra `server`.

In: a loaded model and `Settings`. Out: an ASGI application, `create_app`. A request
becomes a job of one `Pool` that all share; what is here knows HTTP, and nothing of how speech is recognised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperlite.server.settings import Settings

if TYPE_CHECKING:
    from whisperlite.server.app import create_app

__all__ = ["Settings", "create_app"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name != "create_app":
            raise AttributeError(f"module 'whisperlite.server' has no attribute {name!r}")
        from whisperlite.server.app import create_app  # which needs what the extra brings

        return create_app
