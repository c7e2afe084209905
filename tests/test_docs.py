"""What the pages say is so: their Python and their commands run, tables are current, links lead somewhere.

`make check` runs this; pages are found, not listed, so that none can be left out.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import runpy
import shlex
import shutil
import socket
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch

import whisperlite
from tests.desk import RECORDING, SENTENCE_S, write_models, write_recordings
from tests.distribution import EXTRAS
from tests.pages import (
    COMING_FROM,
    PAGES,
    ROOT,
    Block,
    blocks,
    code,
    commands,
    headings,
    links,
    name_of,
    option_tables,
    table_rows,
)
from whisperlite.cli import main
from whisperlite.formats import WRITERS, render
from whisperlite.options import Options

SERVICE = "service"
PEERS = {"openai-whisper", "faster-whisper", "transformers"}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
OTHERS = ROOT / "docs" / "coming-from" / "others.md"
OUTPUT_FORMATS = ROOT / "docs" / "output-formats.md"
RUNNING = [page for page in PAGES if any(each.language in ("python", "sh") for each in blocks(page))]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the pages speak of; the recordings are one sentence."""
    folder = tmp_path_factory.mktemp("desk")
    write_recordings(folder, SENTENCE_S)
    write_models(folder)
    return folder


@pytest.fixture
def at_the_desk(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The working directory is a copy of the desk, there is no network, and the number of threads is put back."""

    def refuse(*_: object) -> None:
        raise AssertionError("a page's code opened a connection")

    shutil.copytree(desk, tmp_path, copy_function=os.link, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("at_the_desk")
@pytest.mark.parametrize("page", RUNNING, ids=name_of)
def test_the_code_of_a_page_runs_from_top_to_bottom(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page):
        if block.language == "python" and not block.title:
            exec(compile("\n" * block.lines_before + block.text, str(page), "exec"), namespace)
        elif block.language == "sh" and not block.title:
            for command in commands(block):
                run(command, monkeypatch)
    if any(block.language == "python" for block in blocks(page)):
        assert words(namespace["result"].text)[-3:] == ["disposed", "young", "man"]


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command of whisperlite; of others see that what they name exists."""
    program, *arguments = shlex.split(command)
    if re.fullmatch(r"[A-Z_]+=.*", program):
        monkeypatch.setenv(*program.split("=", 1))
        program, *arguments = arguments
    if program == "whisperlite":
        assert main(arguments) == 0
    elif program == "make":
        assert {each for each in arguments if "=" not in each} <= targets()
    elif program == "pip":
        assert set(re.findall(r"[\w-]+", "".join(re.findall(r"\[(.*?)\]", command)))) <= EXTRAS
    elif program == "python":
        assert (ROOT / arguments[0]).is_file()
    else:
        assert (ROOT / program).is_file()


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_kind_that_is_run_or_shown_only(page: Path) -> None:
    """A misspelt language would take a block out of the test above."""
    shown = {("text", ""), ("toml", ""), *(("python", peer) for peer in PEERS)}
    service = {("python", SERVICE), ("sh", SERVICE)}  # run by tests/server/test_pages.py
    allowed = {("python", ""), ("sh", ""), *shown, *service}
    assert {(block.language, block.title) for block in blocks(page)} <= allowed
    indented = re.findall(r"^ {4}(?:whisperlite|make|pip|python|import) .*", page.read_text(encoding="utf-8"), re.M)
    code = "".join(block.text for block in blocks(page))
    assert [line for line in indented if f"{line}\n" not in code] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_of_make_exist(page: Path) -> None:
    named = re.findall(r"`make ([a-z]+)", page.read_text(encoding="utf-8"))
    assert set(named) <= targets()


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECORDING), "--output_dir", str(tmp_path)]) == 0
    (shown,) = re.findall(r"<!-- demo -->\n```text\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    # Times may differ by a step of 0.02 s from one processor to the next.
    lines = [re.sub(r"^\[.*?\]", "", line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [re.sub(r"^\[.*?\]", "", line) for line in shown.splitlines()]
    transcript = RECORDING.with_suffix(".txt").read_text(encoding="utf-8")
    assert words(" ".join(lines)) == words(transcript)


@pytest.mark.parametrize("script", sorted((ROOT / "docs").rglob("*_table.py")), ids=name_of)
def test_generated_tables_are_current(script: Path) -> None:
    page = script.with_name(script.name.replace("_table.py", ".md"))
    text = page.read_text(encoding="utf-8")
    assert text == runpy.run_path(str(script))["with_table"](text), f"run: python docs/{script.name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_to_headings_in_them(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not urlsplit(link).scheme and not (target.exists() and (not anchor or anchor in headings(target))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_external_links_are_well_formed_and_encrypted(page: Path) -> None:
    external = [urlsplit(link) for link in links(page) if "://" in link]
    assert [link.geturl() for link in external if link.scheme != "https" or "." not in link.netloc] == []


def test_every_page_of_the_site_is_in_its_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1].split("\n\n")[0]
    listed = set(re.findall(r"[\w./-]+\.md", navigation))
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if ROOT / "docs" in page.parents}


def test_the_reference_has_every_public_name() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"whisperlite\.(\w+)", reference))
    errors = {name for name in whisperlite.__all__ if name.endswith("Error")}  # the page shows their module
    assert "::: whisperlite.errors" in reference
    assert set(whisperlite.__all__) - errors <= shown


def ours() -> set[str]:
    """Names that a table of options may send a reader to."""
    functions = (whisperlite.load_model, whisperlite.Whisper.transcribe)
    parameters = {name for function in functions for name in inspect.signature(function).parameters}
    return {field.name for field in fields(Options)} | (parameters - {"self", "options"})


@pytest.mark.parametrize("page", [*COMING_FROM, OTHERS], ids=name_of)
def test_what_a_table_sends_to_exists_here(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    flags = set(re.findall(r"--\w+", capsys.readouterr().out))
    sent_to = [code(row[1]) for table in option_tables(page).values() for row in table.rows]
    assert len(sent_to) > 30
    assert [] not in sent_to
    assert {re.split("[ =]", name)[0] for names in sent_to for name in names} <= ours() | flags


@pytest.mark.parametrize("page", [*COMING_FROM, OTHERS], ids=name_of)
def test_what_has_no_equivalent_is_not_there(page: Path) -> None:
    """An option that arrives under its old name has to be taken off the line."""
    lacking = {name.strip("-") for table in option_tables(page).values() for name in table.without}
    assert lacking & ours() <= {"task"}  # of transformers' `pipeline`: what kind of pipeline it is


@pytest.mark.parametrize("page", [*COMING_FROM, OTHERS], ids=name_of)
def test_attributes_that_a_table_sends_to_exist(page: Path) -> None:
    kinds: dict[str, Any] = {
        "whisperlite": whisperlite,
        "model": whisperlite.Whisper,
        "result": whisperlite.Transcription,
        "segment": whisperlite.Segment,
        "word": whisperlite.Word,
        "decoded": whisperlite.Decoded,
    }
    cells = " ".join(row[1] for row in table_rows(page.read_text(encoding="utf-8")))
    for variable, name in re.findall(rf"\b({'|'.join(kinds)})\.(\w+)", cells):
        kind = kinds[variable]
        documented = re.findall(r"^ *(\w+):", kind.__doc__, re.MULTILINE)  # attributes that are set by __init__
        assert hasattr(kind, name) or name in documented, f"{variable}.{name}"


@pytest.mark.parametrize("page", COMING_FROM, ids=name_of)
def test_a_page_names_the_version_that_it_is_tested_with(page: Path) -> None:
    pinned = (ROOT / "tests" / "peers" / "requirements.txt").read_text(encoding="utf-8")
    (version,) = re.findall(rf"^{page.stem}==(.+)$", pinned, re.MULTILINE)
    assert f"Of {page.stem} {version}, with which this page is tested." in page.read_text(encoding="utf-8")


def test_the_samples_of_output_formats_are_what_is_written() -> None:
    """All are of the transcription that the page shows as JSON; `name=value` above one is an option, "…" its cut."""
    samples = list(samples_of(OUTPUT_FORMATS))
    ((shown, _),) = [(text, options) for format, options, text in samples if format == "json"]
    sample = whisperlite.Transcription.from_dict(json.loads(shown))
    assert sample.to_dict() == json.loads(shown)
    assert {format for format, _, _ in samples} == WRITERS.keys()
    for format, options, text in samples:
        written = render(sample, format, **options)
        beginning, _, is_cut = text.partition("…")
        if format != "json":
            is_written = written.startswith(beginning) if is_cut else written.strip("\n") == text.strip("\n")
            assert is_written, (format, options)


def test_every_key_of_the_json_is_explained() -> None:
    results = whisperlite.Transcription, whisperlite.Segment, whisperlite.Word, whisperlite.Usage
    kinds = (*results, whisperlite.Skipped, whisperlite.Attempt)
    explained = code(OUTPUT_FORMATS.read_text(encoding="utf-8"))
    assert {field.name for kind in kinds for field in fields(kind)} <= set(explained)


def samples_of(page: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(format, options, text) of each block of text; the heading above it names the format first."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in blocks(page):
        above = lines[: block.lines_before - 1]
        heading = next(line for line in reversed(above) if line.startswith("#"))
        paragraph = "\n".join(above).rstrip().rpartition("\n\n")[2]
        options = {name: ast.literal_eval(value) for name, value in re.findall(r"`(\w+)=(\w+)`", paragraph)}
        if block.language == "text":
            yield code(heading)[0], options, block.text


def test_a_block_in_another_form_is_found(tmp_path: Path) -> None:
    for form in (
        "``` python\npass\n```\n",
        "~~~python\npass\n~~~\n",
        "```python\npass\n",
        "  ```python\npass\n  ```\n",
    ):
        page = tmp_path / "page.md"
        page.write_text(form, encoding="utf-8")
        with pytest.raises(ValueError, match=re.escape(str(page))):
            blocks(page)


def test_a_comment_is_no_command_and_a_long_command_is_one() -> None:
    block = Block("sh", "", 0, "# first\nwhisperlite talk.mp3 \\\n  --model base  # then\n")
    assert [shlex.split(command) for command in commands(block)] == [["whisperlite", "talk.mp3", "--model", "base"]]
