"""Segments one by one, while the recording is being transcribed."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from types import TracebackType

from whisperlite.api.failures import forget_frames
from whisperlite.results import Segment, Transcription
from whisperlite.transcription.session import Accepted


class SegmentIterator(Iterator[Segment]):
    """Hands out each segment as soon as it is accepted; made by `Whisper.iter_segments`.

    Work is done while it is iterated, on the thread that does so. Leaving it, or `close`, ends the work and frees what
    it held. It is its own context manager.
    """

    def __init__(self, windows: Generator[Accepted, None, Transcription], duration: float) -> None:
        self._windows = windows
        self._waiting: deque[Segment] = deque()
        self._result: Transcription | None = None
        self._progress = (0.0, duration)
        self._error: Exception | None = None

    def __iter__(self) -> SegmentIterator:
        return self

    def __next__(self) -> Segment:
        while not self._waiting:
            if self._next_window() is None:
                raise StopIteration
        return self._waiting.popleft()

    def __enter__(self) -> SegmentIterator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def progress(self) -> tuple[float, float]:
        """Seconds done, and seconds in all; equal at the end."""
        return self._progress

    @property
    def result(self) -> Transcription:
        """The whole transcription; what is left to do is done first. Segments not yet taken stay to be taken.

        Raises:
            ValueError: it was closed before the end.
            CancelledError, DecodingError: what ended it while it was iterated, once more, with its `partial`; any other
                error that did, too.
        """
        while self._next_window() is not None:
            pass
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise ValueError("The iterator was closed before the end of the recording: there is no whole result.")
        return self._result

    def close(self) -> None:
        """End the work; segments that were not taken are dropped."""
        self._windows.close()
        self._waiting.clear()

    def _next_window(self) -> Accepted | None:
        """Transcribe one more window; None where there is none left."""
        try:
            window = next(self._windows)
        except StopIteration as end:
            if end.value is not None:
                self._result = end.value
                self._progress = (self._progress[1],) * 2
            return None
        except Exception as error:
            forget_frames(error)  # what the work held is not to stay as long as the error
            self._error = error
            raise
        self._waiting.extend(window.segments)
        self._progress = (window.done_s, window.total_s)
        return window
