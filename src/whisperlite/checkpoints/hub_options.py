"""The options of downloads from the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace

from whisperlite.checkpoints.cache import whole_path
from whisperlite.errors import OptionError
from whisperlite.kinds import FLAG, checked


@dataclass(frozen=True, slots=True)
class HubOptions:
    """Where models are downloaded from, and how.

    Attributes:
        revision: a branch, a tag or a commit; None: `main`.
        token: a user's token of the Hub; None: the one stored on this machine, if any; False: none.
        cache_dir: the folder for downloads; None: the Hub's own ($HF_HUB_CACHE).
        local_files_only: whether the Hub must not be contacted.
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
        """Options from a user's arguments; the folder becomes an absolute path.

        Raises:
            OptionError: the token is malformed, or another value has a wrong type.
            ModelError: the folder is not a valid path.
        """
        folder = None if cache_dir is None else str(whole_path(cache_dir, "cache_dir"))
        return cls(revision, _checked_token(token), folder, checked("local_files_only", local_files_only, FLAG))

    def pinned(self, revision: str) -> HubOptions:
        return replace(self, revision=revision)


_TOKEN = re.compile(r"[!-~]+")  # what an HTTP header can carry; the client's error would quote anything else


def _checked_token(token: object) -> str | bool | None:
    """Check a token and strip it, since files end in a newline. Messages never contain it."""
    if token is None or isinstance(token, bool):
        return token
    if isinstance(token, str) and _TOKEN.fullmatch(stripped := token.strip()):
        return stripped
    kind = "this text" if isinstance(token, str) else f"a value of type {type(token).__name__}"
    raise OptionError(
        f"{kind} is not allowed as token: it takes None, True, False, or text of printable ASCII without spaces.",
        option="token",
    )
