"""Segments one by one, while the recording is being transcribed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from types import TracebackType

from whisperlite.api.frames import clear_frames
from whisperlite.cancel import CancelToken
from whisperlite.errors import CancelledError
from whisperlite.results import Segment, Transcription
from whisperlite.transcription.session import Accepted


class SegmentIterator(Iterator[Segment]):
    """Hands out each segment as soon as it is accepted; made by `Whisper.iter_segments`.

    Work is done while it is iterated, on the thread that does so. Leaving it, or `close`, ends the work and frees what
    it held. It is its own context manager. Any thread may use it: one at a time works, and others wait for that.
    """

    def __init__(self, windows: Generator[Accepted, None, Transcription], duration: float, token: CancelToken) -> None:
        self._windows, self._token = windows, token
        self._turn = threading.RLock()  # a signal may close it in the middle of a step
        self._waiting: deque[Segment] = deque()
        self._result: Transcription | None = None
        self._progress = (0.0, duration)
        self._error: Exception | None = None
        self._is_working = self._is_closed = self._was_interrupted = False

    def __iter__(self) -> SegmentIterator:
        return self

    def __next__(self) -> Segment:
        with self._turn:
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
            ValueError: it was closed or interrupted before the end.
            CancelledError, DecodingError: what ended it while it was iterated, once more, with its `partial`; any other
                error that did, too.
        """
        while self._next_window() is not None:
            pass
        if self._error is not None:
            raise self._error
        if self._result is None:
            what = "interrupted" if self._was_interrupted else "closed"
            raise ValueError(f"The iterator was {what} before the end of the recording: there is no whole result.")
        return self._result

    def close(self) -> None:
        """End the work; segments that were not taken are dropped.

        A thread that is in the middle of it stops within one step of the model, as at the end; this waits for that.
        """
        self._is_closed = True
        self._token.cancel()
        with self._turn:
            if not self._is_working:  # else the work is this thread's own, and stops when it goes on
                self._windows.close()
            self._waiting.clear()

    def _next_window(self) -> Accepted | None:
        """Transcribe one more window; None where there is none left."""
        with self._turn:
            if self._is_working:
                raise ValueError("The iterator is in the middle of a step on this thread: let that end first.")
            self._is_working = True
            try:
                return self._transcribe_window()
            finally:
                self._is_working = False

    def _transcribe_window(self) -> Accepted | None:
        try:
            window = next(self._windows)
        except StopIteration as end:
            if end.value is not None:
                self._result = end.value
                self._progress = (self._progress[1],) * 2
            return None
        except Exception as error:
            clear_frames(error)  # what the work held is not to stay as long as the error
            if self._is_closed and isinstance(error, CancelledError):
                return None
            self._error = error
            raise
        except BaseException:
            self._was_interrupted = True
            raise
        self._waiting.extend(window.segments)
        self._progress = (window.done_s, window.total_s)
        return window
