"""Imports point down: the order of the rooms in docs/design.md, held by reading the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "whisperlite"
SOURCES = Path(__file__).parents[1] / "src" / PACKAGE

# Room → level. A room may import itself and every room of a lower level; rooms of one level never import each other,
# but for those of level 0, which are one room of plain values.
LEVELS = {
    "__main__": 8,
    "cli": 7,
    "commands": 6,
    "server": 5,
    "api": 4,
    "models": 4,
    "transcription": 3,
    "decoding": 2,
    "checkpoints": 2,
    "audio": 1,
    "text": 1,
    "nn": 1,
    "formats": 1,
    "kinds": 0,
    "options": 0,
    "vad_options": 0,
    "results": 0,
    "transcript_search": 0,
    "errors": 0,
    "languages": 0,
    "batches": 0,
    "cancel": 0,
    "forks": 0,
    "own_threads": 0,
    "exit_status": 0,
    "flags": 0,
    "model_flags": 0,
    "other_names": 0,
    "__pyinstaller": 0,
}
USERS = {room for room, level in LEVELS.items() if level >= 5}  # they see what any user sees, nothing deeper
PUBLIC = ""  # `import whisperlite`
SEEN_BY_USERS = {PUBLIC, "formats"} | {room for room, level in LEVELS.items() if level == 0}
FOREIGN_TO_VALUES = {"torch", "numpy"}


def test_no_module_imports_upwards_or_sideways() -> None:
    assert violations(SOURCES) == []


def test_every_room_has_a_level() -> None:
    rooms = {room_of(path, SOURCES) for path in SOURCES.rglob("*.py")} - {PUBLIC}
    assert rooms == set(LEVELS)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("audio/mel.py", "from whisperlite.nn.network import Network"),
        ("audio/mel.py", "import whisperlite.text.tokenizer"),
        ("text/prompt.py", "from whisperlite import audio"),
        ("nn/network.py", "def late():\n    from whisperlite.decoding.engine import Engine"),
        ("nn/network.py", "from whisperlite.options import Options\nif True:\n    import whisperlite.api as api"),
        ("decoding/engine.py", "from whisperlite.checkpoints import resolve"),
        ("decoding/engine.py", "from whisperlite.transcription.session import session"),
        ("transcription/session.py", "from whisperlite.api import Whisper"),
        ("transcription/session.py", "import whisperlite"),
        ("formats/srt.py", "from whisperlite.audio.load import load_audio"),
        ("results.py", "import torch"),
        ("options.py", "from numpy.typing import NDArray"),
        ("cli.py", "from whisperlite.decoding.engine import Engine"),
        ("cli.py", "from whisperlite.api import Whisper"),
        ("server/app.py", "from whisperlite.api import Whisper"),
        ("server/app.py", "from whisperlite.cli import main"),
        ("models.py", "from whisperlite.api import Whisper"),
        ("nn/cache.py", "from . import network"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, module: str, source: str) -> None:
    write_tree(tmp_path, {module: source})
    assert [text.split(" ")[0] for text in violations(tmp_path)] == [module]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("audio/mel.py", "import torch\nfrom whisperlite.audio.load import read_audio\nfrom whisperlite import errors"),
        ("options.py", "from whisperlite.languages import language_code"),
        ("decoding/engine.py", "from whisperlite.nn.network import Network\nfrom whisperlite.text import prompt"),
        ("transcription/session.py", "from whisperlite.audio.mel import Features"),
        ("cli.py", "import whisperlite\nfrom whisperlite import Whisper\nfrom whisperlite.formats import srt"),
        ("cli.py", "def serve():\n    from whisperlite.server.command import serve"),
        ("server/app.py", "from whisperlite import Whisper\nfrom whisperlite.formats import render"),
        ("__init__.py", "from whisperlite.api import Whisper"),
    ],
)
def test_an_allowed_import_is_let_pass(tmp_path: Path, module: str, source: str) -> None:
    write_tree(tmp_path, {module: source})
    assert violations(tmp_path) == []


def write_tree(root: Path, modules: dict[str, str]) -> None:
    """A package with all rooms, of which only the given modules hold anything."""
    empty = {room + (".py" if level in (0, 4, 7) else "/__init__.py"): "" for room, level in LEVELS.items()}
    for name, source in {**empty, **modules}.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")


def violations(root: Path) -> list[str]:
    """`module imports what` for each import that the order forbids."""
    return [
        f"{path.relative_to(root).as_posix()} imports {target}"
        for path in sorted(root.rglob("*.py"))
        for target in imports(path, root)
        if not may_import(room_of(path, root), target)
    ]


def may_import(room: str, target: str) -> bool:
    package, *inner = target.split(".")
    if package != PACKAGE:
        return package != "" and not (LEVELS.get(room) == 0 and package in FOREIGN_TO_VALUES)
    other = inner[0] if inner else PUBLIC
    if room in (PUBLIC, other):
        return True
    if room in USERS:
        return other in SEEN_BY_USERS or (other in USERS and LEVELS[other] < LEVELS[room])
    if other == PUBLIC:
        return False
    return LEVELS[other] < LEVELS[room] or LEVELS[other] == LEVELS[room] == 0


def imports(path: Path, root: Path) -> Iterator[str]:
    """Dotted names of all imports of a file, those in functions and under conditions too; "." of a relative one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield "." * node.level + (node.module or "")
            elif node.module == PACKAGE:
                yield from (f"{PACKAGE}.{alias.name}" if is_room(alias.name, root) else PACKAGE for alias in node.names)
            else:
                yield node.module or ""


def is_room(name: str, root: Path) -> bool:
    return (root / name).is_dir() or (root / f"{name}.py").exists()


def room_of(path: Path, root: Path) -> str:
    first = path.relative_to(root).parts[0]
    return PUBLIC if first == "__init__.py" else first.removesuffix(".py")
