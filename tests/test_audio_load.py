"""Reading audio: every kind of source and container, damaged files, refused ones, and what ffmpeg may access."""

from __future__ import annotations

import gzip
import http.server
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.pooled import Upload, wait_until
from whisperlite.audio import ffmpeg
from whisperlite.audio.containers import is_unsized
from whisperlite.audio.load import Audio, load_audio, read_audio
from whisperlite.errors import (
    AudioDecodeError,
    AudioFormatError,
    AudioNotFoundError,
    AudioTooLongError,
    FFmpegError,
)

MALFORMED = Path(__file__).parent / "data" / "malformed"
SECONDS = 2.0

# name → output options of the encoder. A second input gives the pictures of the files with video.
MEDIA = {
    "speech.wav": "-ar 16000 -ac 1",
    "stereo.wav": "-ar 44100 -ac 2 -c:a pcm_s24le",
    "telephone.wav": "-ar 8000 -ac 1 -c:a pcm_mulaw",
    "studio.flac": "-ar 48000 -ac 2",
    "speech.mp3": "-ar 44100 -ac 2",
    "speech.m4a": "-ar 44100 -ac 2 -c:a aac",
    "vorbis.ogg": "-ar 44100 -ac 2 -c:a libvorbis",
    "speech.opus": "-ar 48000 -ac 1 -c:a libopus",
    "speech.webm": "-ar 48000 -ac 2 -c:a libopus",
    "film.webm": "-map 0 -map 1 -c:v libvpx -ar 48000 -c:a libopus",
    "film.mp4": "-map 1 -map 0 -c:v mpeg4 -ar 44100 -c:a aac",
    "film.mkv": "-map 1 -map 0 -c:v mpeg4 -ar 48000 -c:a libvorbis",
    "speech.wma": "-ar 44100 -ac 2 -c:a wmav2",
}


def run_ffmpeg(*arguments: str | Path) -> bytes:
    command = [ffmpeg.find_binary(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def signal_wav(path: Path, seconds: float = SECONDS) -> Path:
    """Write two channels of different tones with rising loudness: no two moments are alike."""
    formulas = "0.4*sin(2*PI*(300+200*t)*t)*(0.2+t/4)|0.3*sin(2*PI*700*t)"
    run_ffmpeg("-f", "lavfi", "-i", f"aevalsrc='{formulas}':s=48000:d={seconds}", path)
    return path


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind in MEDIA, and some files without sound."""
    folder = tmp_path_factory.mktemp("media")
    source = signal_wav(folder / "source.wav")
    pictures = ["-f", "lavfi", "-i", f"testsrc=d={SECONDS}:s=64x64:r=5"]
    for name, options in MEDIA.items():
        inputs = ["-i", str(source), *(pictures if "-map 1" in options else [])]
        run_ffmpeg(*inputs, *options.split(), folder / name)
    run_ffmpeg(*pictures, "-c:v", "mpeg4", folder / "silent.mp4")
    run_ffmpeg(*pictures, "-frames:v", "1", "-update", "1", folder / "image.png")
    run_ffmpeg(*pictures, "-frames:v", "1", "-update", "1", folder / "image.jpg")
    return folder


def reference_samples(path: Path) -> npt.NDArray[np.int16]:
    """Decode with the command that openai-whisper's `load_audio` runs."""
    options = "-f s16le -ac 1 -acodec pcm_s16le -ar 16000 -"
    content = run_ffmpeg("-threads", "0", "-i", path, *options.split())
    return np.frombuffer(content, np.int16)


# Files


@pytest.mark.parametrize("name", MEDIA)
def test_samples_are_those_of_the_reference_command(media: Path, name: str) -> None:
    audio = read_audio(media / name)
    np.testing.assert_array_equal(audio.samples, reference_samples(media / name))
    assert audio.samples.dtype == np.int16
    assert audio.duration == pytest.approx(SECONDS, abs=0.1)
    assert audio.warnings == ()


@pytest.mark.parametrize("name", MEDIA)
def test_a_path_its_bytes_and_a_file_object_give_equal_samples(media: Path, name: str) -> None:
    expected = read_audio(media / name).samples
    content = (media / name).read_bytes()
    np.testing.assert_array_equal(read_audio(content).samples, expected)
    np.testing.assert_array_equal(read_audio(io.BytesIO(content)).samples, expected)


def test_str_bytearray_memoryview_and_open_files_are_sources_too(media: Path) -> None:
    path = media / "speech.m4a"
    expected = read_audio(path).samples
    content = path.read_bytes()
    for source in (str(path), bytearray(content), memoryview(content), memoryview(content[::-1])[::-1]):
        np.testing.assert_array_equal(read_audio(source).samples, expected)
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_audio(file).samples, expected)


def test_a_file_object_is_read_from_its_current_position(media: Path) -> None:
    file = io.BytesIO(b"a header of another kind" + (media / "speech.wav").read_bytes())
    file.seek(24)
    np.testing.assert_array_equal(read_audio(file).samples, read_audio(media / "speech.wav").samples)


def test_a_file_object_at_its_end_says_to_rewind_it(media: Path) -> None:
    file = io.BytesIO()
    file.write((media / "speech.wav").read_bytes())
    with pytest.raises(AudioDecodeError, match=rf"nothing follows its position, byte {file.tell()}: seek\(0\)"):
        read_audio(file)
    with pytest.raises(AudioDecodeError, match="empty, 0 bytes"):
        read_audio(io.BytesIO())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a POSIX thing")
def test_a_named_pipe_is_read_to_its_end(media: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = (media / "speech.m4a").read_bytes()
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    samples = read_audio(pipe).samples
    writer.join()
    np.testing.assert_array_equal(samples, read_audio(content).samples)


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="a POSIX thing")
def test_a_file_may_be_named_by_the_standard_input_that_it_is(media: Path) -> None:
    code = "from whisperlite import load_audio; print(len(load_audio('/dev/stdin')))"
    with (media / "speech.m4a").open("rb") as file:
        printed = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True, check=True).stdout
    assert int(printed) == len(read_audio(media / "speech.m4a").samples)


@pytest.mark.filterwarnings("error")
def test_an_asynchronous_file_says_what_to_give_instead() -> None:
    class Upload:
        async def read(self, size: int) -> bytes:
            return b"RIFF" * size

    with pytest.raises(AudioFormatError, match=r"await file\.read\(\)"):
        read_audio(Upload())  # type: ignore[arg-type]


def test_what_comes_slowly_can_be_stopped() -> None:
    """`read` of a buffered file waits until it has all the bytes that were requested."""
    read: list[int] = []

    class Slow(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            read.append(1)
            buffer[:1] = b"R"
            return 1

    def stop() -> None:
        if len(read) >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_audio(io.BufferedReader(Slow()), check=stop)
    assert len(read) == 3


def test_a_matrix_is_one_channel_and_what_is_masked_is_refused() -> None:
    samples = np.linspace(-0.5, 0.5, 1600, dtype=np.float32)
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.asmatrix(samples)
    assert read_audio(matrix).samples.shape == (1600,)
    assert read_audio(np.ma.array(samples)).samples.shape == (1600,)
    with pytest.raises(AudioFormatError, match="masked"):
        read_audio(np.ma.array(samples, mask=True))


def test_load_audio_gives_the_float32_that_the_reference_gives(media: Path) -> None:
    samples = load_audio(media / "speech.mp3")
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, reference_samples(media / "speech.mp3").astype(np.float32) / 32768.0)


def test_stereo_is_averaged(tmp_path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "aevalsrc='0.5|0.25':s=16000:d=0.1", tmp_path / "levels.wav")
    np.testing.assert_allclose(load_audio(tmp_path / "levels.wav"), 0.375, atol=2 / 32768)


def test_content_leaves_no_temporary_file(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    read_audio((media / "speech.wav").read_bytes())
    with pytest.raises(AudioDecodeError):
        read_audio(b"this is not audio")
    assert list(tmp_path.iterdir()) == []


# Names are names


@pytest.mark.parametrize(
    "name",
    [
        "-i.wav",
        "-version",
        "concat:speech.wav|other.wav",
        "file:speech.wav",
        "pipe:0",
        "subfile,,start,0,end,9,,:speech.wav",
        "data:audio;base64,AAAA",
        "%03d.wav",
        "a?*[0-9].wav",
        "two\nlines ü 'quoted' \".wav",
    ],
)
def test_a_file_name_is_only_a_name(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    expected = read_audio(media / "speech.wav").samples
    (tmp_path / name).write_bytes((media / "speech.wav").read_bytes())
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(read_audio(name).samples, expected)
    np.testing.assert_array_equal(read_audio(tmp_path / name).samples, expected)


def test_a_file_whose_path_looks_like_an_address_is_read(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "http:" / "host"
    folder.mkdir(parents=True)
    (folder / "talk.wav").write_bytes((media / "speech.wav").read_bytes())
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(read_audio("http://host/talk.wav").samples, read_audio(media / "speech.wav").samples)


def test_an_address_is_a_missing_file_and_says_what_to_do() -> None:
    with pytest.raises(AudioNotFoundError, match="download it first"):
        read_audio("https://example.com/talk.mp3")


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile speech.wav\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    ],
    ids=["hls", "ffconcat", "sdp"],
)
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)], ids=["plain", "behind a tag"])
def test_a_playlist_opens_no_other_file(media: Path, tmp_path: Path, content: str, tag: bytes) -> None:
    (tmp_path / "speech.wav").write_bytes((media / "speech.wav").read_bytes())
    playlist = tmp_path / "list.m3u8"
    playlist.write_bytes(tag + content.format(path=tmp_path / "speech.wav").encode())
    with pytest.raises(AudioDecodeError):
        read_audio(playlist)


def test_a_playlist_is_named_as_the_reason(media: Path, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes((media / "speech.wav").read_bytes())
    (tmp_path / "list.txt").write_text("ffconcat version 1.0\nfile speech.wav\n")
    with pytest.raises(AudioDecodeError, match="playlist or script that names other files"):
        read_audio(tmp_path / "list.txt")


# Damage


def truncated(path: Path, share: float) -> bytes:
    content = path.read_bytes()
    return content[: int(len(content) * share) & ~1]


@pytest.mark.parametrize(
    "name", ["speech.wav", "studio.flac", "speech.mp3", "vorbis.ogg", "speech.opus", "speech.webm", "speech.wma"]
)
def test_what_is_left_of_a_cut_file_comes_with_a_warning(tmp_path: Path, name: str) -> None:
    source = signal_wav(tmp_path / "source.wav", seconds=12)
    run_ffmpeg("-i", source, *MEDIA[name].split(), tmp_path / name)
    audio = read_audio(truncated(tmp_path / name, 0.6))
    assert 1.0 < audio.duration < 11.0
    assert len(audio.warnings) >= 1


def test_the_warning_says_how_much_is_missing(tmp_path: Path) -> None:
    run_ffmpeg("-i", signal_wav(tmp_path / "source.wav", seconds=12), tmp_path / "talk.mp3")
    audio = read_audio(truncated(tmp_path / "talk.mp3", 0.5))
    assert any("ended early: its header says" in text for text in audio.warnings)


def test_damage_in_the_middle_is_reported_as_ffmpeg_does_and_the_rest_is_decoded(tmp_path: Path) -> None:
    """Some versions of ffmpeg do not report such damage."""
    run_ffmpeg("-i", signal_wav(tmp_path / "source.wav", seconds=6), tmp_path / "talk.flac")
    content = bytearray((tmp_path / "talk.flac").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = b"\xff" * 3000
    (tmp_path / "damaged.flac").write_bytes(content)
    command = [ffmpeg.find_binary(), "-v", "error", "-i", str(tmp_path / "damaged.flac"), "-f", "null", "-"]
    reported = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stderr
    audio = read_audio(content)
    assert audio.duration > 4.0
    assert any("ffmpeg reported" in text for text in audio.warnings) == bool(reported)


def test_load_audio_warns_of_damage(tmp_path: Path) -> None:
    run_ffmpeg("-i", signal_wav(tmp_path / "source.wav", seconds=6), tmp_path / "talk.flac")
    (tmp_path / "cut.flac").write_bytes(truncated(tmp_path / "talk.flac", 0.5))
    with pytest.warns(UserWarning, match="ffmpeg reported|ended early") as caught:
        samples = load_audio(tmp_path / "cut.flac")
    assert len(samples) > 0
    assert all(record.filename == __file__ for record in caught)


def test_a_wav_written_to_a_pipe_has_no_length_and_no_warning(tmp_path: Path) -> None:
    source = signal_wav(tmp_path / "source.wav")
    assert read_audio(run_ffmpeg("-i", source, "-f", "wav", "-")).warnings == ()


@pytest.mark.parametrize("size", [0x7FFF0000, 0x7FFFFFFF, 0x80000000, 0xFFFF0000])
def test_whatever_length_it_says_instead(tmp_path: Path, size: int) -> None:
    """Programs differ in the size that they write if they do not know it."""
    content = signal_wav(tmp_path / "source.wav").read_bytes()
    at = content.index(b"data") + 4
    read = read_audio(content[:at] + size.to_bytes(4, "little") + content[at + 4 :])
    assert read.warnings == ()
    assert read.samples.shape == read_audio(content).samples.shape


@pytest.mark.parametrize("form", ["wav", "caf"])
@pytest.mark.parametrize("title", ["", "data \u00e9\u00e9", "x" * 6001], ids=["plain", "data", "long"])
def test_a_file_written_to_a_pipe_gives_no_warning_whatever_its_tags(tmp_path: Path, form: str, title: str) -> None:
    source = signal_wav(tmp_path / "source.wav")
    piped = run_ffmpeg("-i", source, "-metadata", f"title={title}", "-f", form, "-")
    if form == "wav":
        at = piped.rindex(b"data\xff\xff\xff\xff")
        piped = piped[: at + 4] + 0x7FFFF000.to_bytes(4, "little") + piped[at + 8 :]  # as SoX does
    read = read_audio(piped)
    assert read.warnings == ()
    np.testing.assert_array_equal(read.samples, reference_samples(source))


@pytest.mark.parametrize("title", ["", "data \u00e9\u00e9", "da"], ids=["plain", "data", "odd"])
def test_a_wav_that_is_cut_is_told_of(tmp_path: Path, title: str) -> None:
    run_ffmpeg("-i", signal_wav(tmp_path / "source.wav"), "-metadata", f"title={title}", tmp_path / "talk.wav")
    content = (tmp_path / "talk.wav").read_bytes()
    assert read_audio(content).warnings == ()
    assert read_audio(content[: len(content) // 2]).warnings != ()


@pytest.mark.parametrize("size", [0x7FFEFFFF, 0x80000001, 2_600_000_000, 0xFFFEFFFF])
def test_a_wav_that_is_cut_is_told_of_if_it_was_large(tmp_path: Path, size: int) -> None:
    content = signal_wav(tmp_path / "source.wav").read_bytes()
    at = content.index(b"data") + 4
    assert read_audio(content[:at] + size.to_bytes(4, "little") + content[at + 4 : -1001]).warnings != ()


def test_a_wav_of_nothing_but_chunks_does_not_keep_anybody_busy(tmp_path: Path) -> None:
    path = tmp_path / "chunks.wav"
    with path.open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\x7fWAVE")
        file.truncate(1 << 33)  # a hole, which takes no space on the disk
    assert not is_unsized(path)


@pytest.mark.parametrize("newline", ["\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_tag_cannot_speak_for_ffmpeg(tmp_path: Path, newline: str) -> None:
    lines = ["a title", "[error] boom", "[info]   Duration: 99:00:00.00, start: 0.0"]
    source = signal_wav(tmp_path / "source.wav")
    run_ffmpeg("-i", source, "-metadata", f"title={newline.join(lines)}", "-c:a", "flac", tmp_path / "talk.flac")
    assert read_audio(tmp_path / "talk.flac").warnings == ()


def test_lines_of_the_log_may_end_as_on_windows() -> None:
    assert ffmpeg._read_log("[error] first\r\n[info] no\r\n[error] last\r\n", 0).problems == ("first", "last")


def test_recordings_behind_each_other_in_one_file_are_one(tmp_path: Path) -> None:
    one = run_ffmpeg("-i", signal_wav(tmp_path / "source.wav"), "-c:a", "libopus", "-f", "ogg", "-")
    read = read_audio(one + one)
    assert read.warnings == ()
    assert len(read.samples) == pytest.approx(2 * len(read_audio(one).samples), abs=1600)


def test_what_may_not_be_opened_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "source.wav"
    path.write_bytes(b"RIFF")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioDecodeError):
        read_audio(path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_name_need_not_be_utf_8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xff"))
    folder.mkdir()
    path = signal_wav(folder / os.fsdecode(b"r\xe9c.wav"))
    assert len(read_audio(path).samples) == SECONDS * 16000
    path.write_bytes(b"no sound")
    with pytest.raises(AudioDecodeError, match="cannot read it"):
        read_audio(path)


def test_sound_shorter_than_its_pictures_gives_no_warning(tmp_path: Path) -> None:
    pictures = ["-f", "lavfi", "-i", "testsrc=d=6:s=64x64:r=5"]
    run_ffmpeg("-i", signal_wav(tmp_path / "source.wav"), *pictures, *MEDIA["film.mp4"].split(), tmp_path / "film.mp4")
    audio = read_audio(tmp_path / "film.mp4")
    assert audio.duration == pytest.approx(SECONDS, abs=0.1)
    assert audio.warnings == ()


def film(folder: Path, name: str, *, pictures_s: float = 12.0, before: str = "", options: str = "") -> Path:
    """Write a video with 12 s of sound; `before` are options for the sound as input, `options` for the output."""
    pictures = ["-f", "lavfi", "-i", f"testsrc=d={pictures_s}:s=64x64:r=5"]
    source = signal_wav(folder / "source.wav", seconds=12)
    run_ffmpeg(*pictures, *before.split(), "-i", source, "-ar", "44100", *options.split(), folder / name)
    return folder / name


@pytest.mark.parametrize("name", ["film.flv", "film.mkv"])
def test_sound_that_a_cut_video_lacks_is_told_of(tmp_path: Path, name: str) -> None:
    content = film(tmp_path, name).read_bytes()
    assert read_audio(content).warnings == ()
    warnings = read_audio(content[: len(content) // 2]).warnings
    assert any(re.search(r"its header says 12\.\d\d s, \d\.\d\d s could be decoded of the sound", w) for w in warnings)


@pytest.mark.parametrize("name", ["two.mkv", "two.ts", "two.mp4"])
@pytest.mark.parametrize("stereo", [0, 1])
def test_of_several_sound_tracks_the_one_that_was_transcribed_is_named(tmp_path: Path, name: str, stereo: int) -> None:
    source = signal_wav(tmp_path / "source.wav")
    tones = ["-f", "lavfi", "-i", f"sine=600:d={SECONDS}:r=48000"]
    channels = ["-ac:a:0", "2" if stereo == 0 else "1", "-ac:a:1", "2" if stereo == 1 else "1"]
    tracks = ["-map", "0:a", "-map", "1:a", "-disposition:a", "0"]
    run_ffmpeg("-i", source, *tones, *tracks, *channels, "-c:a", "aac", "-ar", "48000", tmp_path / name)
    audio = read_audio(tmp_path / name)
    (warning,) = audio.warnings
    found = re.match("the file has 2 sound tracks, and (0:a:[01]) was transcribed", warning)
    assert found
    run_ffmpeg("-i", tmp_path / name, "-map", found[1], "-ac", "1", "-ar", "16000", tmp_path / "one.wav")
    np.testing.assert_array_equal(audio.samples, reference_samples(tmp_path / "one.wav"))


@pytest.mark.parametrize("name", ["late.mp4", "late.ts"])
def test_sound_that_begins_late_is_told_of(tmp_path: Path, name: str) -> None:
    """Versions of ffmpeg differ in whether they print the start of a stream, and in the delay of their encoders."""
    late = film(tmp_path, name, pictures_s=14, before="-itsoffset 2", options="-c:a aac")
    command = [ffmpeg.find_binary(), "-nostdin", "-i", str(late)]
    shown = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).stderr
    warnings = read_audio(late).warnings
    if re.search(rb"Audio: .*, start ", shown):
        assert re.match(r"the sound begins (1\.9\d|2\.0\d) s after the file", warnings[0])
    assert read_audio(film(tmp_path, f"even.{name}", options="-c:a aac")).warnings == ()


def test_sound_much_shorter_than_the_pictures_is_told_of(tmp_path: Path) -> None:
    (warning,) = read_audio(film(tmp_path, "film.mp4", pictures_s=20)).warnings
    assert "its header says 20.00 s, 12.00 s could be decoded of the sound" in warning


def test_a_gap_is_told_of_where_packets_have_times(tmp_path: Path) -> None:
    source = signal_wav(tmp_path / "source.wav", seconds=6)
    with_gap = "aselect='not(between(t,2,4))'"
    run_ffmpeg("-i", source, "-af", with_gap, "-c:a", "aac", "-f", "mp4", tmp_path / "gap.m4a")
    (warning,) = read_audio(tmp_path / "gap.m4a").warnings
    assert "ended early or has gaps: its header says 6.0" in warning
    command = warning[warning.index("`ffmpeg ") + 8 : warning.rindex("`")]
    run_ffmpeg(*command.replace("FILE.wav", str(tmp_path / "whole.wav")).replace("FILE", f"{tmp_path}/gap.m4a").split())
    assert read_audio(tmp_path / "whole.wav").duration == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("awful.wav", "not one sample"),
        ("null.wav", "not one sample"),
        ("bad.wav", "cannot read it as audio"),
        ("evil.wav", "cannot read it as audio"),
    ],
)
def test_malformed_wavs_are_errors_that_give_the_reason(name: str, reason: str) -> None:
    with pytest.raises(AudioDecodeError, match=reason) as caught:
        read_audio(MALFORMED / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["silent.mp4", "image.png", "image.jpg"])
def test_media_without_sound_is_an_error_that_says_so(media: Path, name: str) -> None:
    with pytest.raises(AudioDecodeError, match="no audio stream"):
        read_audio(media / name)


def test_what_is_not_there_or_not_audio_is_an_error_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("this is not audio\n" * 200)
    with pytest.raises(AudioDecodeError, match="0 bytes"):
        read_audio(tmp_path / "empty.wav")
    with pytest.raises(AudioDecodeError, match="0 bytes"):
        read_audio(b"")
    with pytest.raises(AudioDecodeError, match="cannot read it as audio"):
        read_audio(tmp_path / "text.mp3")
    with pytest.raises(AudioDecodeError, match="is a directory"):
        read_audio(tmp_path)
    for missing in ("", "missing.wav", "empty.wav/", "nul\0.wav", "long" * 1000):
        with pytest.raises(AudioNotFoundError, match="no file"):
            read_audio(str(tmp_path) + "/" + missing if missing else "")


@pytest.mark.parametrize("source", [None, 3, ["a.wav"], [0.0, 0.1], object()])
def test_a_source_of_another_type_is_refused_with_the_list(source: Any) -> None:
    with pytest.raises(AudioFormatError, match="give a path, bytes, a binary file object, a numpy array"):
        read_audio(source)


def test_a_text_file_object_is_refused() -> None:
    text: Any = io.StringIO("RIFF")
    with pytest.raises(AudioFormatError, match="binary mode"):
        read_audio(text)
    undecodable: Any = io.TextIOWrapper(io.BytesIO(b"RIFF\xb7"), encoding="utf-8")
    with pytest.raises(AudioFormatError, match="binary mode"):
        read_audio(undecodable)


def test_a_closed_file_object_is_a_typed_error() -> None:
    file = io.BytesIO(b"RIFF")
    file.close()
    with pytest.raises(AudioDecodeError, match="closed file"):
        read_audio(file)


def test_a_broken_stream_is_a_typed_error_whatever_it_raises() -> None:
    with gzip.open(io.BytesIO(gzip.compress(bytes(10_000))[:-10])) as cut:
        with pytest.raises(AudioDecodeError, match="the file object given could not be read: EOFError") as caught:
            load_audio(cut)  # type: ignore[arg-type]
        assert isinstance(caught.value.__cause__, EOFError)


@pytest.mark.parametrize("error", [MemoryError("none left"), AudioNotFoundError("there is none"), KeyboardInterrupt()])
def test_what_a_stream_raises_beside_that_is_what_it_is(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        load_audio(Upload(b"", fail))


@pytest.mark.skipif(sys.platform == "win32", reason="pipes that do not block are a POSIX thing")
@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
def test_a_non_blocking_pipe_that_is_behind_is_an_error(media: Path, buffering: int) -> None:
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.write(writable, (media / "speech.mp3").read_bytes()[:5000])
    message = "non-blocking and has nothing to read yet"
    with os.fdopen(readable, "rb", buffering) as pipe, pytest.raises(AudioDecodeError, match=message):
        read_audio(pipe)
    os.close(writable)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes that do not block are a POSIX thing")
@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
def test_a_non_blocking_pipe_that_has_all_is_read(media: Path, buffering: int) -> None:
    content = (media / "speech.mp3").read_bytes()
    assert len(content) < 1 << 16  # fits into a pipe
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.write(writable, content)
    os.close(writable)
    with os.fdopen(readable, "rb", buffering) as pipe:
        samples = read_audio(pipe).samples
    np.testing.assert_array_equal(samples, read_audio(content).samples)


@pytest.mark.parametrize(
    "wrap",
    [bytearray, memoryview, lambda part: memoryview(part[::-1])[::-1], lambda part: np.frombuffer(part, np.uint8)],
    ids=["bytearray", "memoryview", "reversed", "numpy"],
)
def test_read_may_return_whatever_holds_bytes(media: Path, wrap: Callable[[bytes], Any]) -> None:
    class Wrapping(io.BytesIO):
        def read(self, size: int | None = -1, /) -> Any:
            return wrap(super().read(min(size or 0, 5000)))

    content = (media / "speech.mp3").read_bytes()
    np.testing.assert_array_equal(read_audio(Wrapping(content)).samples, read_audio(content).samples)


@pytest.mark.parametrize("found", [5, "", np.array(["now"], "datetime64")], ids=["number", "text", "dates"])
def test_what_read_returns_in_place_of_bytes_is_refused(found: Any) -> None:
    class Strange:
        def read(self, _size: int) -> Any:
            return found

    with pytest.raises(AudioFormatError, match="gives no bytes"):
        read_audio(Strange())  # type: ignore[arg-type]


def test_a_read_that_takes_no_size_is_told_of() -> None:
    class All:
        def read(self) -> bytes:
            return b"RIFF"

    with pytest.raises(AudioFormatError, match=r"takes no size: give what `read\(\)` returns"):
        read_audio(All())  # type: ignore[arg-type]


def test_a_type_error_within_read_is_that_of_a_broken_stream() -> None:
    def fail() -> None:
        raise TypeError("of something else")

    with pytest.raises(AudioDecodeError, match="could not be read: TypeError: of something else"):
        read_audio(Upload(b"", fail))


@pytest.fixture
def cutting_server(media: Path) -> Iterator[str]:
    """A server that announces all of `speech.mp3` and closes after as many bytes as the URL's path says."""

    class Cutting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = (media / "speech.mp3").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: int(self.path[1:])])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Cutting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_download_that_was_cut_off_is_an_error(media: Path, cutting_server: str) -> None:
    content = (media / "speech.mp3").read_bytes()
    with urlopen(f"{cutting_server}/{len(content)}") as whole:
        np.testing.assert_array_equal(read_audio(whole).samples, read_audio(content).samples)
    missing = f"{len(content) - 5000} bytes are missing.*cut off"
    with urlopen(f"{cutting_server}/5000") as cut, pytest.raises(AudioDecodeError, match=missing):
        read_audio(cut)


@pytest.mark.parametrize("length", [100, None, "100"])
def test_the_length_that_another_file_object_states_is_its_own(media: Path, length: object) -> None:
    """GridFS's files have a `length` that does not shrink."""
    file = Upload((media / "speech.wav").read_bytes())
    file.length = length  # type: ignore[attr-defined]
    assert read_audio(file).duration == SECONDS


def test_bytes_that_urllib3_still_waits_for_are_missing(media: Path) -> None:
    file = Upload((media / "speech.wav").read_bytes())
    file.length_remaining = 7  # type: ignore[attr-defined]
    with pytest.raises(AudioDecodeError, match="7 bytes are missing"):
        read_audio(file)


def test_a_rate_given_with_a_file_is_refused(media: Path) -> None:
    with pytest.raises(AudioFormatError, match="carries its own rate"):
        read_audio(media / "speech.wav", sampling_rate=16000)


# ffmpeg itself


def test_ffmpeg_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / ("ffmpeg.exe" if sys.platform == "win32" else "ffmpeg")
    system.write_text("")
    system.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg.find_binary() == str(system)


def test_without_a_system_ffmpeg_the_wheel_gives_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "imageio_ffmpeg" in ffmpeg.find_binary()


def test_with_no_ffmpeg_at_all_the_error_says_how_to_get_one(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(FFmpegError, match=r"pip install 'whisperlite\[ffmpeg\]'"):
        read_audio(media / "speech.wav")


@pytest.mark.skipif(sys.platform == "win32", reason="needs executable shell scripts")
@pytest.mark.parametrize(("script", "reason"), [("", "could not be run"), ("#!/bin/sh\nexit 1\n", "does not work")])
def test_a_broken_ffmpeg_is_named(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text(script)
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FFmpegError, match=f"{broken}.*{reason}"):
        read_audio(media / "speech.wav")


def test_another_package_named_ffmpeg_is_recognised(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ffmpeg", types.ModuleType("ffmpeg"))
    with pytest.raises(FFmpegError, match=r"pip uninstall ffmpeg.*--force-reinstall ffmpeg-python"):
        read_audio(media / "speech.wav")


def test_a_missing_ffmpeg_python_is_named(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ffmpeg", None)
    with pytest.raises(FFmpegError, match="pip install ffmpeg-python"):
        read_audio(media / "speech.wav")


@pytest.mark.skipif(sys.platform == "win32", reason="needs executable shell scripts")
def test_megabytes_of_error_lines_do_not_block_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = tmp_path / "ffmpeg"
    noisy.write_text(
        '#!/bin/sh\ncase "$*" in *-demuxers*) echo " D   wav  WAV"; exit;; esac\n'
        f'exec {sys.executable} -c "import sys\n'
        "for i in range(20000): sys.stderr.write('[wav @ 0x1] [error] damage %d' % i + ' ' * 200 + chr(10))\n"
        'sys.stdout.buffer.write(bytes(32001))"\n'
    )
    noisy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    audio = read_audio(b"anything")
    assert audio.duration == 1.0
    assert len(audio.warnings) == 1
    assert len(audio.warnings[0]) < 300


@pytest.mark.skipif(sys.platform == "win32", reason="needs executable shell scripts and POSIX signals")
def test_a_recording_that_is_too_long_is_refused_before_it_is_read_to_its_end(tmp_path: Path) -> None:
    path = signal_wav(tmp_path / "a.wav", 3.0)
    assert read_audio(path, max_duration_s=3.0).duration == 3.0
    for source in (path, path.read_bytes(), np.zeros(48000, np.float32)):
        with pytest.raises(AudioTooLongError, match=r"max_duration_s=2\.9"):
            read_audio(source, max_duration_s=2.9)


@pytest.mark.skipif(sys.platform == "win32", reason="needs executable shell scripts")
@pytest.mark.parametrize("most_s", [1e305, float("inf")])
def test_a_limit_may_be_as_large_as_one_likes(tmp_path: Path, most_s: float) -> None:
    assert read_audio(signal_wav(tmp_path / "speech.wav"), max_duration_s=most_s).duration == SECONDS


def test_what_ffmpeg_says_is_kept_within_bounds() -> None:
    script = "echo '[error] first' >&2; yes '[info] something' | head -c 5000000 >&2; echo >&2; echo '[error] last' >&2"
    _, log, _ = ffmpeg._run(["/bin/sh", "-c", script])
    assert len(log) == 2 << 20
    assert ffmpeg._read_log(log, 0).problems == ("first", "last")


@pytest.mark.skipif(not hasattr(os, "getpgrp"), reason="POSIX")
def test_a_signal_to_the_group_of_the_program_is_not_for_ffmpeg() -> None:
    """ffmpeg would exit normally, as if the recording had ended there."""
    output, _, _ = ffmpeg._run([sys.executable, "-c", "import os; print(os.getpgrp())"])
    assert int(output) != os.getpgrp()


@pytest.mark.skipif(sys.platform == "win32", reason="needs executable shell scripts")
def test_a_demuxer_that_opens_other_files_is_left_out_with_all_its_names(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nprintf ' D  wav  a\\n D  hls,applehttp  b\\n DE mov,mp4,m4a  c\\n'\n")
    program.chmod(0o755)
    assert ffmpeg._single_file_demuxers(str(program)) == "m4a,mov,mp4,wav"


def test_ffmpeg_is_stopped_when_there_is_more_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one would never stop writing."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\ncase $* in *-demuxers*) echo ' D  wav x';; *) exec cat /dev/zero;; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioTooLongError):
        read_audio(tmp_path / "a.wav", max_duration_s=10.0)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limits")
def test_ffmpeg_has_a_limit_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    script = 'sleep 0.3; echo "[error] $(ulimit -v) KiB" >&2'
    program.write_text(f"#!/bin/sh\ncase $* in *-demuxers*) echo ' D  wav x';; *) {script};; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    _, report = ffmpeg.decode_file(tmp_path / "a.wav", 16000)
    assert report.problems == ("4194304 KiB",)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limits")
def test_a_lower_limit_of_memory_stays() -> None:
    import resource

    with subprocess.Popen(["sleep", "60"]) as process:
        resource.prlimit(process.pid, resource.RLIMIT_AS, (1 << 30, 2 << 30))
        ffmpeg._limit_memory(process.pid)
        assert resource.prlimit(process.pid, resource.RLIMIT_AS) == (1 << 30, 1 << 30)
        process.kill()


def test_content_without_a_place_for_it_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(AudioDecodeError, match="temporary file"):
        read_audio(b"anything")


def put_endless_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program that never ends in place of ffmpeg. Returns the file that it writes its process id to."""
    started = folder / "started"
    endless = folder / "ffmpeg"
    endless.write_text(
        '#!/bin/sh\ncase "$*" in *-demuxers*) echo " D   wav  WAV"; exit;; esac\n'
        f"sleep 0.2; echo $$ > {started}.part; mv {started}.part {started}; exec sleep 60\n"
    )
    endless.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return started


def test_an_interrupt_ends_the_ffmpeg_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = put_endless_ffmpeg(tmp_path, monkeypatch)
    # In a process of its own: an interrupt during a callback of the garbage collector (hypothesis has one) is lost. And
    # background jobs start with SIGINT ignored.
    program = (
        "import signal\n"
        "from whisperlite.audio.load import read_audio\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "read_audio(b'anything')\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        wait_until(started.exists)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=30)
    assert printed.rstrip().endswith("KeyboardInterrupt")
    assert_gone(int(started.read_text()))


def test_an_interrupt_before_anything_was_read_ends_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_endless_ffmpeg(tmp_path, monkeypatch)
    begun: list[int] = []

    def interrupt(pid: int) -> None:
        begun.append(pid)
        if len(begun) == 2:  # the first one lists the demuxers
            raise KeyboardInterrupt

    monkeypatch.setattr(ffmpeg, "_limit_memory", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_audio(b"anything")
    assert_gone(*begun)


def assert_gone(*pids: int) -> None:
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# Samples


def tone(samples: int = 1600) -> npt.NDArray[np.float64]:
    return np.asarray(0.5 * np.sin(np.arange(samples) * 0.05), np.float64)


@pytest.mark.parametrize(
    ("dtype", "scale", "zero", "tolerance"),
    [
        (np.float16, 1, 0, 1e-3),
        (np.float32, 1, 0, 1e-7),
        (np.float64, 1, 0, 1e-7),
        (np.dtype(">f4"), 1, 0, 1e-7),
        (np.int16, 2**15, 0, 1 / 2**15),
        (np.dtype(">i2"), 2**15, 0, 1 / 2**15),
        (np.int32, 2**31, 0, 1e-7),
        (np.uint8, 2**7, 2**7, 1 / 2**7),
    ],
)
@pytest.mark.parametrize(
    "arrange",
    [
        lambda x: x,
        lambda x: np.stack([x, x]),
        lambda x: np.stack([x] * 5, axis=1),
        lambda x: x[:, None],
        lambda x: x[None],
        lambda x: np.repeat(x, 2)[::2],
    ],
    ids=["mono", "channels first", "channels last", "one column", "one row", "strided"],
)
def test_every_sample_type_and_layout_gives_the_same_sound(
    dtype: npt.DTypeLike,
    scale: float,
    zero: float,
    tolerance: float,
    arrange: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
) -> None:
    samples = arrange((tone() * scale + zero).astype(dtype))
    before = samples.copy()
    loaded = load_audio(samples)
    assert loaded.dtype == np.float32
    assert loaded.dtype.isnative
    np.testing.assert_allclose(loaded, tone(), atol=tolerance)
    np.testing.assert_array_equal(samples, before)


def test_full_scale_integers_are_minus_one() -> None:
    np.testing.assert_array_equal(load_audio(np.array([-(2**15), 2**14], np.int16)), [-1.0, 0.5])
    np.testing.assert_array_equal(load_audio(np.array([-(2**31), 2**30], np.int32)), [-1.0, 0.5])
    np.testing.assert_array_equal(load_audio(np.array([0, 128, 192], np.uint8)), [-1.0, 0.0, 0.5])


def test_channels_are_averaged_not_summed() -> None:
    loud = np.full((2, 100), 32767, np.int16)
    loud[1] = 1
    np.testing.assert_array_equal(load_audio(loud), 0.5)


def test_samples_in_the_final_form_are_not_copied() -> None:
    samples = tone().astype(np.float32)
    assert load_audio(samples) is samples
    integers = (tone() * 2**15).astype(np.int16)
    assert read_audio(integers).samples is integers


def test_read_only_samples_are_taken() -> None:
    samples = tone()
    samples.flags.writeable = False
    np.testing.assert_allclose(load_audio(samples), tone(), atol=1e-7)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x,
        lambda x: x.double(),
        lambda x: x.half(),
        lambda x: x.bfloat16(),
        lambda x: x.requires_grad_(),
        lambda x: torch.stack([x, x]),
        lambda x: torch.nn.Parameter(x),
        lambda x: (x * 2**15).short(),
    ],
    ids=["float", "double", "half", "bfloat16", "grad", "stereo", "parameter", "short"],
)
def test_tensors_are_samples(make: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensor = make(torch.from_numpy(tone().astype(np.float32)))
    np.testing.assert_allclose(load_audio(tensor), tone(), atol=2e-3)


def test_a_tensor_without_dense_samples_is_a_typed_error() -> None:
    with pytest.raises(AudioFormatError, match="dense"):
        read_audio(torch.empty(100, device="meta"))


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
def test_samples_of_another_rate_are_resampled(rate: int) -> None:
    def sound(at: int) -> npt.NDArray[np.float64]:
        return 0.5 * np.sin(2 * np.pi * 440 * np.arange(at) / at)

    loaded = load_audio(np.stack([sound(rate)] * 2), sampling_rate=rate)
    assert len(loaded) == pytest.approx(16000, abs=20)
    inner = slice(200, 15800)  # a resampler rings at both ends
    np.testing.assert_allclose(loaded[inner], sound(16000)[inner], atol=2e-3)


def test_resampling_more_than_a_pipe_holds_does_not_block() -> None:
    audio = read_audio(np.zeros(48000 * 60, np.float32), sampling_rate=48000)
    assert audio.duration == pytest.approx(60.0, abs=0.01)


def test_samples_at_16_khz_need_no_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert len(load_audio(tone(), sampling_rate=16000)) == 1600


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_sample_that_is_no_number_is_found(value: float) -> None:
    samples = tone()
    samples[700] = value
    with pytest.raises(AudioFormatError, match=r"samples\[700\] is .* \(1 of 1600"):
        read_audio(samples)
    with pytest.raises(AudioFormatError, match=r"samples\[1, 700\] is"):
        read_audio(np.stack([tone(), samples]))


def test_samples_too_small_for_float32_are_zero_also_where_numpy_raises() -> None:
    with np.errstate(all="raise"):
        assert not load_audio(np.full(1600, 1e-300)).any()


def test_a_memoryview_that_was_released_is_a_typed_error() -> None:
    view = memoryview(b"sound")
    view.release()
    with pytest.raises(AudioFormatError, match="no bytes any more"):
        load_audio(view)


def test_floats_far_out_of_range_give_a_warning() -> None:
    audio = read_audio(tone() * 32768)
    assert len(audio.warnings) == 1
    assert "full scale" in audio.warnings[0]
    assert read_audio(tone() * 2.1).warnings == ()


@pytest.mark.parametrize(
    "samples",
    [
        tone().astype(np.complex64),
        tone() > 0,
        np.array(["a", "b"]),
        np.array([object()]),
        np.zeros(10, np.int64),
        np.zeros(10, np.uint16),
        np.zeros((1, 2, 1600)),
        np.array(0.5),
        np.zeros((33, 33)),
        np.zeros((100, 40)),
    ],
    ids=["complex", "bool", "str", "object", "int64", "uint16", "3-D", "0-D", "33 channels", "40 channels"],
)
def test_samples_of_no_known_form_are_refused(samples: npt.NDArray[Any]) -> None:
    with pytest.raises(AudioFormatError, match="samples of"):
        read_audio(samples)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 2)])
def test_an_empty_array_holds_no_sound(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioDecodeError, match="empty array"):
        read_audio(np.zeros(shape, np.float32))


@pytest.mark.parametrize("rate", [0, -16000, 999, 10**6, 16000.0, "16000", True])
def test_a_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(AudioFormatError, match="sampling_rate="):
        read_audio(tone(), sampling_rate=rate)


def test_duration_is_in_seconds() -> None:
    assert Audio(np.zeros(24000, np.int16)).duration == 1.5


def test_importing_the_loader_imports_neither_torch_nor_ffmpeg_python() -> None:
    program = (
        "import sys, whisperlite.audio.load; sys.exit(bool({'torch', 'ffmpeg', 'imageio_ffmpeg'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
