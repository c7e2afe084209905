"""How many windows are decoded together."""

from __future__ import annotations

from whisperlite.errors import OptionError
from whisperlite.kinds import checked, integer, optional
from whisperlite.options import Options

BATCH_SIZE = integer(1, 128)
_CHUNKS = 8  # chunks of one recording that are decoded together by default


def slots_for(options: Options, batch_size: int | None) -> int:
    """The number of windows of one recording that are decoded together.

    Raises:
        OptionError: `batch_size` is out of range, or the recording is not cut into chunks.
    """
    slots: int | None = checked("batch_size", batch_size, optional(BATCH_SIZE))
    if slots is not None and not options.is_chunked:
        raise OptionError(
            f"batch_size={batch_size} is about chunks that are decoded together: give chunking='vad' with it. "
            "Otherwise one window follows from the other; for many recordings there is transcribe_many.",
            option="batch_size",
        )
    return (slots or _CHUNKS) if options.is_chunked else 1
