"""What is asked of the libraries and what is claimed about them. Plain values: both environments read this."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Library = Literal["whisperlite", "openai-whisper", "faster-whisper", "transformers", "whisper.cpp"]
PEERS: tuple[Library, ...] = ("openai-whisper", "faster-whisper", "transformers", "whisper.cpp")

Way = Literal["sequential", "chunks", "folder"]
"""Window after window at temperature 0; or one file cut at its pauses, the chunks together, with the ladder where there
is one; or many files, together where the library can, at temperature 0."""

BATCH_SIZE = 8


@dataclass(frozen=True, slots=True)
class Side:
    """A library as it is loaded.

    Attributes:
        compute_type: under the library's own name.
        is_spread: whether each thread transcribes a file of its own (faster-whisper's `num_workers`).
    """

    library: Library
    compute_type: str
    is_spread: bool = False

    @property
    def name(self) -> str:
        return f"{self.library} {self.compute_type}" + (", a file on each thread" if self.is_spread else "")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Request:
    """The files that a side transcribes, and how; timed as a whole."""

    files: tuple[str, ...]
    language: str
    beam_size: int
    way: Way = "sequential"
    batch_size: int = BATCH_SIZE

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Request:
        return cls(**{**data, "files": tuple(data["files"])})


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to transcribe, in which peers are compared with us.

    Attributes:
        name: its name on the command line.
        title: its title on the page.
    """

    name: str
    title: str
    way: Way
    beam_size: int
    ours: Side
    peers: tuple[Side, ...]

    def request(self, files: tuple[str, ...], language: str) -> Request:
        return Request(files, language, self.beam_size, self.way)


FLOAT32, INT8 = Side("whisperlite", "float32"), Side("whisperlite", "int8")
_OPENAI = Side("openai-whisper", "float32")
_TRANSFORMERS = Side("transformers", "float32")
_FASTER = (Side("faster-whisper", "float32"), Side("faster-whisper", "int8"))
_SPREAD = tuple(replace(side, is_spread=True) for side in _FASTER)
# whisper.cpp has no float32 on a CPU. f16 keeps the weights as they are, but rounds what they are multiplied with.
_CPP, *_CPP_ROUNDED = (Side("whisper.cpp", kind) for kind in ("f16", "q8_0", "q5_1"))

SETTINGS = (
    Setting(
        "greedy-float32",
        "greedy, sequential, float32",
        "sequential",
        1,
        FLOAT32,
        (_OPENAI, _FASTER[0], _TRANSFORMERS, _CPP),
    ),
    Setting("beam5-float32", "beam 5, sequential, float32", "sequential", 5, FLOAT32, (_OPENAI, _FASTER[0])),
    Setting("greedy-int8", "greedy, sequential, int8", "sequential", 1, INT8, (*_FASTER, *_CPP_ROUNDED)),
    Setting("beam5-int8", "beam 5, sequential, int8", "sequential", 5, INT8, _FASTER),
    Setting("chunks-greedy", "one long file, batched, greedy, int8, fallback on", "chunks", 1, INT8, _FASTER),
    Setting("chunks-beam5", "one long file, batched, beam 5, int8, fallback on", "chunks", 5, INT8, _FASTER),
    Setting(
        "folder-float32",
        "a folder of short clips, greedy, float32",
        "folder",
        1,
        FLOAT32,
        (_FASTER[0], _SPREAD[0], _TRANSFORMERS),
    ),
    Setting("folder-int8", "a folder of short clips, greedy, int8", "folder", 1, INT8, (*_FASTER, *_SPREAD)),
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim about how many times as fast as a library we are; of several sides of it, the fastest counts.

    Attributes:
        label: the name of the peer on the page.
        required, goal: time of the peer over ours.
        same_tokens: only recordings with the same tokens count.
    """

    setting: str
    label: str
    sides: tuple[Side, ...]
    required: float
    goal: float
    same_tokens: bool = False


CLAIMS = (
    Claim("greedy-float32", "openai-whisper", (_OPENAI,), 1.8, 2.5, same_tokens=True),
    Claim("beam5-float32", "openai-whisper", (_OPENAI,), 3.0, 5.0, same_tokens=True),
    Claim("greedy-float32", "faster-whisper float32", _FASTER[:1], 1.2, 1.6),
    Claim("beam5-float32", "faster-whisper float32", _FASTER[:1], 1.5, 2.5),
    Claim("greedy-int8", "faster-whisper, its fastest type", _FASTER, 2.0, 4.0),
    Claim("beam5-int8", "faster-whisper, its fastest type", _FASTER, 2.0, 4.0),
    Claim("chunks-greedy", "faster-whisper batched, its fastest type", _FASTER, 1.5, 3.0),
    Claim("chunks-beam5", "faster-whisper batched, its fastest type", _FASTER, 1.5, 3.0),
    Claim("folder-float32", "faster-whisper float32, its best way", (_FASTER[0], _SPREAD[0]), 2.0, 4.0),
    Claim("folder-int8", "faster-whisper, its best way and fastest type", (*_FASTER, *_SPREAD), 2.0, 4.0),
    Claim("greedy-float32", "whisper.cpp f16", (_CPP,), 1.5, 3.0),
    Claim("greedy-int8", "whisper.cpp q8_0", (_CPP_ROUNDED[0],), 1.5, 3.0),
    Claim("greedy-int8", "whisper.cpp q5_1", (_CPP_ROUNDED[1],), 1.5, 3.0),
    Claim("greedy-float32", "transformers", (_TRANSFORMERS,), 2.0, 4.0),
    Claim("folder-float32", "transformers, batched", (_TRANSFORMERS,), 2.0, 4.0),
)

# The sides whose memory, loading and first segment are measured, and the claims about some of them.
MEMORY_SIDES = (FLOAT32, _OPENAI, _TRANSFORMERS, _FASTER[0], INT8, _FASTER[1])
MEMORY_CLAIMS = (
    Claim("memory", "openai-whisper", (_OPENAI,), 1.0, 2.0),
    Claim("memory", "transformers", (_TRANSFORMERS,), 1.0, 2.0),
)
