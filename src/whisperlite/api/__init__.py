"""The public calls: load a model, transcribe with it."""

from whisperlite.api.iterator import SegmentIterator
from whisperlite.api.load import load_model, transcribe
from whisperlite.api.whisper import Whisper

__all__ = ["SegmentIterator", "Whisper", "load_model", "transcribe"]
