"""The library as a service over HTTP: `whisperlite serve`. Needs the extra `server`.

In: a loaded model and `Settings`. Out: an ASGI application, `create_app`, or a running server, `serve`. A request
becomes a job of one `Pool` that all share; what is here knows HTTP, and nothing of how speech is recognised.
"""

from __future__ import annotations

from whisperlite.server.settings import Settings

__all__ = ["Settings"]
