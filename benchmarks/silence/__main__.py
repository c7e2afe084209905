"""`python -m benchmarks.silence`: hallucinated and lost words of three libraries; exit status 1 if ours is not best.

Answers of the other libraries are kept, so that a second run asks ours alone. Ours fails if it is worse than
openai-whisper in a column that both have, if another makes up fewer words than ours with voice activity detection,
or if that detection loses words.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.peers.command import parser_of, publish
from benchmarks.peers.desk import Desk
from benchmarks.peers.requests import LIBRARIES, Library, Request, Setting
from benchmarks.provenance import provenance
from benchmarks.silence.clips import SOUNDS, Clip, find_clips
from benchmarks.silence.report import Counted, as_markdown, summarise

SETTINGS = {
    "plain": Setting(thresholds=False),
    "thresholds": Setting(),
    "vad": Setting(vad=True),
    "vad+hallucination": Setting(vad=True, words=True, hallucination=True),
}
NAMES = {setting: name for name, setting in SETTINGS.items()}


def main() -> None:
    parser = parser_of("silence", __doc__, LIBRARIES)
    parser.add_argument("--clip", default="", help="only recordings whose path contains this")
    parser.add_argument("--seeds", type=int, default=10, help="answers of a library that samples (default: 10)")
    arguments = parser.parse_args()
    if arguments.eval is None:
        raise SystemExit("Recordings with their texts are needed: --eval FOLDER with a manifest.jsonl.")
    desk = Desk(arguments.cache, arguments.threads, arguments.seeds)
    desk.prepare()
    clips = [clip for clip in find_clips(arguments.eval, desk) if arguments.clip in clip.file]
    requests = desk.answer(choose_requests(clips, arguments.library), cached=arguments.cached)
    counted = count(desk, clips, requests)
    for line in hallucinations(desk, counted, requests):
        print(line)
    seconds = {
        (library, setting): desk.seconds(each for each in requests if _key(each) == (library, setting))
        for library, setting in {_key(request) for request in requests}
    }
    summary = summarise(counted, seconds, same_texts(desk, requests), arguments.seeds)
    summary |= provenance(threads=arguments.threads)
    page = as_markdown(summary)
    print(page)
    for row in summary["rows"]:
        print(f"{row['library']:15} {row['setting']:18} {row['seconds']:7.0f} s over {row['clips']} recordings")
    print("\n".join(summary["failures"]))
    publish("silence", summary, page, arguments.out)


def choose_requests(clips: list[Clip], libraries: list[Library] | None) -> list[Request]:
    """Return a request for every clip, library and setting that the library has."""
    return [
        Request(library, clip.recording, clip.lang, setting)
        for library in libraries or LIBRARIES
        for setting in SETTINGS.values()
        if not (library == "openai-whisper" and setting.vad)
        for clip in clips
    ]


def count(desk: Desk, clips: list[Clip], requests: list[Request]) -> list[Counted]:
    by_recording = {clip.recording.sha256: clip for clip in clips}
    chosen = [by_recording[request.recording.sha256] for request in requests]
    lines = [
        {"lang": clip.lang, "truth": clip.truth, "text": _text(desk, request)}
        for clip, request in zip(chosen, requests, strict=True)
    ]
    return [
        Counted(request.library, NAMES[request.setting], clip, request.seed, errors)
        for request, clip, errors in zip(requests, chosen, desk.count_errors(lines), strict=True)
    ]


def hallucinations(desk: Desk, counted: list[Counted], requests: list[Request]) -> list[str]:
    """Return a line for each text that whisperlite writes where nobody speaks."""
    return [
        f"{each.setting:18} seed {each.seed}  {each.clip.file}: {_text(desk, request).strip()[:200]!r}"
        for each, request in zip(counted, requests, strict=True)
        if each.library == "whisperlite" and each.clip.group in SOUNDS and each.errors.inserted
    ]


def same_texts(desk: Desk, requests: list[Request]) -> list[bool]:
    """Return, for each answer that openai-whisper sampled, whether whisperlite's text is the same."""
    answers = {request: answer for request in requests if (answer := desk.find(request)) is not None}
    sampled = [each for each in answers if each.library == "openai-whisper" and answers[each]["fell_back"]]
    pairs = [(each, replace(each, library="whisperlite")) for each in sampled]
    return [other in answers and _text(desk, one) == _text(desk, other) for one, other in pairs]


def _key(request: Request) -> tuple[Library, str]:
    return request.library, NAMES[request.setting]


def _text(desk: Desk, request: Request) -> str:
    answer = desk.find(request)
    assert answer is not None, "answered above"
    return "".join(segment["text"] for segment in answer["segments"])


if __name__ == "__main__":
    main()
