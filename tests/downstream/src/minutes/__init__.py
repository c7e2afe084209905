"""Minutes of a meeting: a line for each segment, with a mark at those that should be listened to again."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import whisperlite


def minutes(result: whisperlite.Transcription) -> Iterator[str]:
    """The lines of the minutes of one recording."""
    for segment in result.segments:
        mark = "?" if segment.truncated or segment.avg_logprob < -0.8 else " "
        yield f"{mark} {segment.start // 60:02.0f}:{segment.start % 60:02.0f}{segment.text}"
    for span in result.skipped:
        yield f"- {span.end - span.start:.0f} s of silence"


def main() -> int:
    model = whisperlite.load_model("base", device="cpu")
    options: whisperlite.OptionsDict = {"language": "en", "beam_size": 1}
    for recording in sys.argv[1:]:
        try:
            result = model.transcribe(recording, **options)
        except whisperlite.AudioError as error:
            print(error, file=sys.stderr)
            return 1
        print(*minutes(result), sep="\n")
    return 0
