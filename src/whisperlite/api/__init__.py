"""The public interface: load a model, and transcribe with it."""

from whisperlite.api.iterator import SegmentIterator
from whisperlite.api.job import Job
from whisperlite.api.load import load_model, transcribe
from whisperlite.api.pool import Pool
from whisperlite.api.whisper import Whisper

__all__ = ["Job", "Pool", "SegmentIterator", "Whisper", "load_model", "transcribe"]
