"""Which options apply to windows that are decoded once each, without the policy of a whole recording."""

from __future__ import annotations

from whisperlite.errors import OptionError
from whisperlite.options import Options

# Options that belong to a whole recording: `decode`, which makes one attempt at each window, refuses them.
_OF_RECORDINGS = (
    *("word_timestamps", "vad_filter", "multilingual", "language_detection_segments", "prompt_reset_on_temperature"),
    *("chunk_length", "chunking", "clip_timestamps", "timeout_s", "max_duration_s"),
)
# The same, but for the value that says what `decode` does anyway.
_OFF = {
    "condition_on_previous_text": False,
    "temperature_increment_on_fallback": None,
    "compression_ratio_threshold": None,
    "logprob_threshold": None,
    "no_speech_threshold": None,
}


def refuse_options_of_recordings(options: Options) -> None:
    """An option that cannot apply to single windows is refused, never ignored.

    Raises:
        OptionError: one of them.
    """
    defaults = Options()
    for name in (*_OF_RECORDINGS, *_OFF):
        value, default = getattr(options, name), getattr(defaults, name)
        if value not in (default, _OFF.get(name, default)):
            raise OptionError(f"{name}={value!r} is for whole recordings: leave it out, or transcribe.", option=name)
    if isinstance(options.temperature, tuple) and len(options.temperature) > 1:
        message = f"temperature={options.temperature!r} is several attempts, and decode makes one: give one number."
        raise OptionError(message, option="temperature")
