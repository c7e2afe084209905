"""Checks of media files that ffmpeg does not make: whether the header states a size, whether the last page is whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, Literal

_MOST_CHUNKS = 1000  # that are searched; a malicious file may have any number


def is_unsized(path: Path) -> bool:
    """Whether a wav or caf does not state how long its sound is, as is usual for files written to a pipe.

    ffmpeg itself recognises only wavs that state 0 or the largest number.
    """
    try:
        with path.open("rb") as file:
            kind = file.read(12)
            if kind[:4] == b"RIFF":
                size = _size_of_data(file, first=12, width=4, order="little", is_padded=True)
                # Writers that do not know the size state one within 64 KiB below 2 or 4 GiB, or 2 GiB.
                return size is not None and (0x7FFF0000 <= size <= 0x80000000 or size >= 0xFFFF0000)
            if kind[:4] == b"caff":
                return _size_of_data(file, first=8, width=8, order="big", is_padded=False) == (1 << 64) - 1
    except OSError:  # ffmpeg has reported it
        pass
    return False


def _size_of_data(
    file: BinaryIO, first: int, *, width: int, order: Literal["little", "big"], is_padded: bool
) -> int | None:
    """The size stated by the `data` chunk, searched for among the chunks from byte `first` on; None if not found."""
    at, length = first, file.seek(0, io.SEEK_END)
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        header = file.read(4 + width)
        size = int.from_bytes(header[4:], order)
        if header[:4] == b"data" and len(header) == 4 + width:
            return size
        at += len(header) + size
        at += at % 2 if is_padded else 0
        if at >= length:
            return None
    return None


def is_cut_ogg(path: Path) -> bool:
    """Whether bytes of an Ogg file's last page (RFC 3533, section 6) are missing, which ffmpeg does not report."""
    header_size, largest_page = 27, 27 + 255 + 255 * 255
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(max(0, file.seek(0, io.SEEK_END) - largest_page))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < header_size:
        return True
    lacing = page[header_size : header_size + page[26]]
    return len(page) < header_size + page[26] + sum(lacing)
