"""The segments of a recording, one by one while it is being transcribed."""

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
    """Yields each segment as soon as it is accepted; made by `Whisper.iter_segments`.

    The work is done on the thread that iterates, while it iterates. The iterator is a context manager; leaving it, or
    `close`, ends the work and frees its memory. Any thread may use it: one of them works, and the others wait.
    """

    def __init__(self, windows: Generator[Accepted, None, Transcription], duration: float, token: CancelToken) -> None:
        self._windows, self._token = windows, token
        self._turn = threading.RLock()  # reentrant: a signal handler may close it in the middle of a step
        self._waiting: deque[Segment] = deque()
        self._result: Transcription | None = None
        self._progress = (0.0, duration)
        self._error: Exception | None = None
        self._is_working = self._is_closed = self._was_interrupted = False

    def __repr__(self) -> str:
        done_s, total_s = self._progress
        return f"<SegmentIterator, {done_s:g} of {total_s:g} s done>"

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
        """The whole transcription. The rest of the recording is transcribed first; its segments can still be iterated.

        Raises:
            ValueError: the iterator was closed or interrupted before the end of the recording.
            CancelledError, DecodingError: the error that ended the iteration, with its `partial`. Any other error that
                ended it is raised again too.
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
        """End the work, and drop the segments that have not been iterated.

        If another thread is working, it stops within one step of the model, as if at the end; this waits for it.
        """
        self._is_closed = True
        self._token.cancel()
        with self._turn:
            if not self._is_working:  # else this thread itself is working, and stops when it continues
                self._windows.close()
            self._waiting.clear()

    def _next_window(self) -> Accepted | None:
        """Transcribe one more window; None if there are no more."""
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
            clear_frames(error)  # keeping the error must not keep the recording
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
