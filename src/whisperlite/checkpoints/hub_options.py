"""Where and how models are downloaded, as a user asks for it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace

from whisperlite.checkpoints.cache import whole_path
from whisperlite.errors import OptionError
from whisperlite.kinds import FLAG, checked


@dataclass(frozen=True, slots=True)
class HubOptions:
    """Where and how downloads are made.

    Attributes:
        revision: a branch, a tag or a commit; None: `main`.
        token: the token of a user of the Hub; None: the one that is stored on this machine, if any; False: none.
        cache_dir: the folder for downloads; None: the Hub's own ($HF_HUB_CACHE).
        local_files_only: whether the Hub must not be asked.
        endpoint: the address of the Hub; None: $HF_ENDPOINT, else the public one.
    """

    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | None = None
    local_files_only: bool = False
    endpoint: str | None = None

    @classmethod
    def of(
        cls,
        revision: str | None,
        token: str | bool | None,
        cache_dir: str | os.PathLike[str] | None,
        local_files_only: bool,
    ) -> HubOptions:
        """From a user's arguments; the folder is kept whole.

        Raises:
            OptionError: the token cannot be one, or another value is of a wrong type.
            ModelError: the folder is not a valid path.
        """
        folder = None if cache_dir is None else str(whole_path(cache_dir, "cache_dir"))
        return cls(revision, _checked_token(token), folder, checked("local_files_only", local_files_only, FLAG))

    def pinned(self, revision: str) -> HubOptions:
        return replace(self, revision=revision)


_TOKEN = re.compile(r"[!-~]+")  # what an HTTP header can carry; the client would quote anything else in its error


def _checked_token(token: object) -> str | bool | None:
    """A token without the end of the line that files have. Messages do not repeat it."""
    if token is None or isinstance(token, bool):
        return token
    if isinstance(token, str) and _TOKEN.fullmatch(stripped := token.strip()):
        return stripped
    kind = "this text" if isinstance(token, str) else f"a value of type {type(token).__name__}"
    raise OptionError(
        f"{kind} is not allowed as token: it takes None, True, False, or text of printable ASCII without spaces.",
        option="token",
    )
