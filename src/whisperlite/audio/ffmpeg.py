"""Find and run the ffmpeg program, and parse its log.

In: the path of one media file, or raw float32 samples. Out: mono samples at the requested rate, and a `Report` of
ffmpeg's log. Whether a report becomes an error, a warning or nothing is decided in `load.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO

import numpy as np
import numpy.typing as npt

from whisperlite.audio.containers import is_unsized
from whisperlite.errors import FFmpegError
from whisperlite.own_threads import OwnThread

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

# Demuxers that open other files or addresses named in the file they read. A recording is one file, and a playlist must
# not make us read another one. The protocol whitelist blocks the network; leaving these out protects the disk.
_PLAYLISTS = {"concat", "dash", "hls", "imf", "rtp", "rtsp", "sap", "sdp", "vobsub", "webm_dash_manifest"}
_SCRIPTS = {"avisynth", "vapoursynth"}
_REFUSED_DEMUXERS = _PLAYLISTS | _SCRIPTS

Check = Callable[[], None] | None
_CHECK_INTERVAL_S = 0.02
_NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # on Windows, ffmpeg would open a console window
_LOG_BYTES = 1 << 20  # kept of the beginning of the log, and as much of its end
_MEMORY_BYTES = 4 << 30  # of address space for ffmpeg; a long recording on many cores takes 0.3 GB
_STACK_BYTES = 16 << 20  # of that for the stack of each thread; some systems reserve far more

INSTALL_FFMPEG = "install ffmpeg with the system's package manager, or: pip install 'whisperlite[ffmpeg]'"


@dataclass(frozen=True, slots=True)
class Contents:
    """What the file's headers state, as ffmpeg prints it before decoding."""

    duration_s: float | None = None  # of the longest stream; None if not stated, or only estimated
    is_one_track: bool = False  # there is no other stream, so `duration_s` is that of the sound
    has_timestamps: bool = False  # packets carry timestamps, so there may be gaps between them
    n_tracks: int = 0  # audio streams
    track: int = 0  # index of the decoded one among them
    track_start_s: float = 0.0  # after the start of the file


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one run of ffmpeg, parsed from its log."""

    returncode: int
    problems: tuple[str, ...]  # errors, and warnings about corrupt packets, without ffmpeg's prefixes
    contents: Contents

    def says(self, text: str) -> bool:
        return any(text in problem for problem in self.problems)

    @property
    def summary(self) -> str:
        """The first problems, in one line of at most 200 characters."""
        causes = [p for p in self.problems if not p.startswith("Error opening")] or list(self.problems[:1])
        text = "; ".join(dict.fromkeys(causes[:3])) or f"exit status {self.returncode}"
        return text if len(text) <= 200 else text[:199] + "…"


def decode_file(
    path: Path, rate: int, check: Check = None, most_samples: int | None = None
) -> tuple[npt.NDArray[np.int16], Report]:
    """Decode the audio stream that ffmpeg picks by default, as the reference's `load_audio` does.

    Args:
        path: the absolute path of an existing file.
        rate: sampling rate of the result, in Hz.
        check: called many times a second; if it raises, ffmpeg is killed.
        most_samples: ffmpeg is stopped once it has written more samples than this; at least one more is returned.

    Returns:
        Samples (n,), mono, int16, and ffmpeg's report. Errors that ffmpeg reports are not raised.

    Raises:
        FFmpegError: there is no working ffmpeg.
    """
    binary = find_binary()
    url = f"file:{path}"  # the prefix keeps a name from being taken for an option, an address or a protocol
    placeholder = "file:recording"  # ffmpeg-python accepts only UTF-8 names
    stream = _ffmpeg_python().input(
        placeholder, protocol_whitelist="file", format_whitelist=_single_file_demuxers(binary)
    )
    output = stream.output("pipe:1", format="s16le", acodec="pcm_s16le", ac=1, ar=rate)
    most_bytes = None if most_samples is None else 2 * most_samples
    command = [url if argument == placeholder else argument for argument in _command(output, binary)]
    content, log, returncode = _run(command, check=check, most_bytes=most_bytes)
    samples = np.frombuffer(content, dtype="<i2", count=len(content) // 2).astype(np.int16, copy=False)
    log = log.replace(os.fsencode(url).decode(errors="replace"), path.name)
    return samples, _read_log(log, returncode, unsized=is_unsized(path))


def resample(
    samples: npt.NDArray[np.float32], rate: int, target_rate: int, check: Check = None
) -> npt.NDArray[np.float32]:
    """Resample (n,) float32 mono samples from `rate` to `target_rate` Hz; `check` as in `decode_file`.

    Raises:
        FFmpegError: there is no working ffmpeg, or it failed.
    """
    stream = _ffmpeg_python().input("pipe:0", protocol_whitelist="pipe", format="f32le", ac=1, ar=rate)
    output = stream.output("pipe:1", format="f32le", acodec="pcm_f32le", ac=1, ar=target_rate)
    content, log, returncode = _run(_command(output, find_binary()), samples.astype("<f4", copy=False).data, check)
    if returncode != 0:
        summary = _read_log(log, returncode).summary
        raise FFmpegError(f"ffmpeg could not resample from {rate} Hz to {target_rate} Hz: {summary}")
    return np.frombuffer(content, dtype="<f4").astype(np.float32, copy=False)


def find_binary() -> str:
    """Return the path of the system's ffmpeg or, if there is none, of the one in the imageio-ffmpeg wheel.

    Raises:
        FFmpegError: neither is installed.
    """
    if system := shutil.which("ffmpeg"):
        return system
    try:
        return str(import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError, OSError) as error:
        raise FFmpegError(f"no ffmpeg was found, and audio files are read with it: {INSTALL_FFMPEG}") from error


def _ffmpeg_python() -> ModuleType:
    """Import ffmpeg-python's module `ffmpeg`, and check that it is not another package's of the same name."""
    try:
        module = import_module("ffmpeg")
    except ImportError as error:
        raise FFmpegError("the package ffmpeg-python is missing: pip install ffmpeg-python") from error
    if not (hasattr(module, "input") and hasattr(module, "Error")):
        raise FFmpegError(
            "the installed module `ffmpeg` is not that of ffmpeg-python but of another package (`ffmpeg` or "
            "`python-ffmpeg`) that hides it: pip uninstall ffmpeg python-ffmpeg && "
            "pip install --force-reinstall ffmpeg-python"
        )
    return module


def _command(output: object, binary: str) -> list[str]:
    # `level` marks each line with its severity, which tells errors from the description of the file.
    options = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info"]
    return [str(argument) for argument in _ffmpeg_python().compile(output, cmd=[binary, *options])]


@lru_cache(maxsize=8)
def _single_file_demuxers(binary: str) -> str:
    """Return this ffmpeg's demuxers, without those that open other files, as a comma-separated list."""
    content, _, _ = _run([binary, "-hide_banner", "-demuxers"])
    rows = [line.split() for line in content.decode(errors="replace").splitlines()]
    entries = [set(row[1].split(",")) for row in rows if len(row) > 1 and row[0] in ("D", "DE")]
    # Whitelisting one name of an entry allows all of them: the HLS demuxer was once called "hls,applehttp".
    names = {name for entry in entries if not entry & _REFUSED_DEMUXERS for name in entry}
    if "wav" not in names:
        raise FFmpegError(f"{binary} does not work as ffmpeg (it lists no demuxers): {INSTALL_FFMPEG}")
    return ",".join(sorted(names))


def _run(
    command: list[str], content: memoryview | None = None, check: Check = None, most_bytes: int | None = None
) -> tuple[bytearray, str, int]:
    """Run a command until it ends, `check` raises, or it has written more than `most_bytes`.

    Returns:
        Standard output, standard error, exit status.

    Unlike `Popen.communicate`, which joins a list of chunks and so briefly holds a long recording twice, this collects
    the output in one buffer.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if content is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            creationflags=_NO_WINDOW,
            # Keeps Ctrl-C, which signals the whole process group, from ffmpeg: it would exit as if the file had ended.
            start_new_session=True,
        )
    except OSError as error:
        hint = f": {INSTALL_FFMPEG}" if isinstance(error, (FileNotFoundError, PermissionError)) else ""
        raise FFmpegError(f"{command[0]} could not be run ({error}){hint}") from error
    log = bytearray()
    output = bytearray()
    reader = OwnThread("ffmpeg", _drain, process.stdout, output, most_bytes)
    threads = [reader, OwnThread("ffmpeg", _drain_both_ends, process.stderr, log)]
    if content is not None:
        threads.append(OwnThread("ffmpeg", _feed, process.stdin, content))
    with process:
        try:  # an interrupt may come at any moment, and `with` alone would wait until ffmpeg has read the file
            _limit_memory(process.pid)
            for thread in threads:
                thread.start()
            while reader.is_alive():
                reader.join(_CHECK_INTERVAL_S)  # without a timeout, Ctrl-C would not be noticed on Windows
                if check is not None:
                    check()
            if most_bytes is not None and len(output) > most_bytes:
                process.kill()
        except BaseException:
            process.kill()
            raise
        finally:
            for thread in threads:
                if thread.ident is not None:  # it was started
                    thread.join()
    return output, log.decode(errors="replace"), process.returncode


def _limit_memory(pid: int) -> None:
    """Limit ffmpeg's address space, for malicious files, on systems that have such limits."""
    if resource is None or not hasattr(resource, "prlimit"):
        return
    with suppress(OSError):  # the process has ended already, or we may not set limits
        set_before = resource.prlimit(pid, resource.RLIMIT_AS)
        stack, _ = resource.getrlimit(resource.RLIMIT_STACK)  # address space for each thread
        more = 0 if stack == resource.RLIM_INFINITY else max(stack - _STACK_BYTES, 0) * (3 * (os.cpu_count() or 1) + 16)
        least = min([_MEMORY_BYTES + more, *(limit for limit in set_before if limit != resource.RLIM_INFINITY)])
        resource.prlimit(pid, resource.RLIMIT_AS, (least, least))


def _drain(pipe: IO[bytes] | None, buffer: bytearray, most_bytes: int | None = None) -> None:
    assert pipe is not None
    while (most_bytes is None or len(buffer) <= most_bytes) and (chunk := pipe.read(1 << 16)):
        buffer += chunk


def _drain_both_ends(pipe: IO[bytes] | None, buffer: bytearray) -> None:
    """Read everything but keep only the beginning and the end: a malicious file can make ffmpeg log without limit."""
    assert pipe is not None
    end = bytearray()
    while chunk := pipe.read(1 << 16):
        room = max(_LOG_BYTES - len(buffer), 0)
        buffer += chunk[:room]
        end += chunk[room:]
        if len(end) > 2 * _LOG_BYTES:
            del end[:-_LOG_BYTES]
    buffer += end[-_LOG_BYTES:]


def _feed(pipe: IO[bytes] | None, content: memoryview) -> None:
    assert pipe is not None
    try:
        with pipe:
            pipe.write(content)
    except (BrokenPipeError, OSError):
        pass  # ffmpeg stopped reading; its exit status and log say why


_LINE = re.compile(r"(?:\[[^\]]* @ \w+\] )*\[(\w+)\] (.*)")
_INPUT = re.compile(r"Input #0, ([^ ]+), from ")
_DURATION = re.compile(r"  Duration: (\d+):(\d\d):(\d\d\.\d+)(?:, start: (-?\d+\.\d+))?")
_STREAM = re.compile(r"  Stream #(0:\d+)\S*: (\w+): ")
_STREAM_START = re.compile(r", start (-?\d+\.\d+)")
_MAPPED = re.compile(r"  Stream #(0:\d+) -> #0:0 ")
_WITH_TIMESTAMPS = {"asf", "flv", "matroska", "mov", "mpeg", "mpegts", "ogg", "webm"}


def _read_log(log: str, returncode: int, *, unsized: bool = False) -> Report:
    # Not `splitlines`, which also splits at U+2028 and the like: a tag that has one could forge lines.
    lines = [match.groups() for match in map(_LINE.match, log.replace("\r\n", "\n").split("\n")) if match]
    return Report(returncode, tuple(_problems(lines, unsized)), _contents([text for _, text in lines]))


def _problems(lines: list[tuple[str, ...]], unsized: bool) -> list[str]:
    problems = [
        text
        for level, text in lines
        if (level in ("error", "fatal", "panic") or (level == "warning" and "corrupt" in text.lower()))
        and "monotonically increasing dts to muxer" not in text  # about concatenated recordings
    ]
    # The header of a wav written to a pipe states no length, and ffmpeg calls the last packet corrupt.
    if unsized or any(text.startswith("Ignoring maximum wav data size") for _, text in lines):
        problems = [problem for problem in problems if "corrupt" not in problem.lower()]
    return problems


def _contents(texts: list[str]) -> Contents:
    streams: list[str] = []
    starts_s: dict[str, float] = {}  # of audio streams, by stream number, in order
    duration_s: float | None = None
    start_s = 0.0
    format_names: set[str] = set()
    mapped = ""
    for text in texts:
        if text.startswith("Output #"):
            break
        if found := _INPUT.match(text):
            format_names = set(found.group(1).split(","))
        elif found := _DURATION.match(text):
            hours, minutes, seconds, start = found.groups()
            start_s = float(start or 0)
            duration_s = 3600 * int(hours) + 60 * int(minutes) + float(seconds) - max(0.0, start_s)
        elif found := _MAPPED.match(text):
            mapped = found.group(1)
        elif (found := _STREAM.match(text)) and "(attached pic)" not in text:
            number, kind = found.groups()
            streams.append(kind)
            if kind == "Audio":
                stream_start = _STREAM_START.search(text)
                starts_s[number] = float(stream_start.group(1)) if stream_start else start_s
    estimated = any(text.startswith("Estimating duration") for text in texts)
    return Contents(
        duration_s=None if estimated else duration_s,
        is_one_track=streams == ["Audio"],
        has_timestamps=not format_names.isdisjoint(_WITH_TIMESTAMPS),
        n_tracks=len(starts_s),
        track=list(starts_s).index(mapped) if mapped in starts_s else 0,
        track_start_s=max(0.0, starts_s.get(mapped, start_s) - start_s),
    )
