"""The benchmarks' pages, and what they say about where their numbers come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.pages import FOLDER, render
from benchmarks.provenance import about_now, describe_provenance, provenance, when

COMMIT = "0123456789" * 4
PAGES = dict(render(FOLDER))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_page_is_what_its_numbers_give(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path], "run `python -m benchmarks.pages`"


def test_every_page_but_the_explanation_is_made_from_numbers() -> None:
    assert {path for path in FOLDER.rglob("*.md") if path.name != "bounds.md"} == PAGES.keys()


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.json")), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_numbers_name_their_commit_and_date(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert '"commit": "' in text
    assert '"date": "20' in text


def test_a_summary_knows_its_commit_date_machine_torch_and_threads() -> None:
    known = provenance(threads=3)
    assert known.keys() == {"commit", "date", "machine", "torch", "threads"}
    assert known | about_now() == known
    assert known["threads"] == 3
    json.dumps(known)


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        (
            {"commit": COMMIT, "date": "2026-01-02", "machine": "A, 2 cores", "torch": "2.8", "threads": 1},
            "Measured 2026-01-02, commit 0123456789, with torch 2.8 and 1 thread. The machine: A, 2 cores.",
        ),
        (
            {"stored": {"commit": COMMIT, "date": "2026-01-02"}},
            "Which commit was measured was not recorded. The numbers were stored on 2026-01-02, commit 0123456789.",
        ),
    ],
)
def test_a_page_ends_with_where_its_numbers_come_from(summary: dict[str, object], said: str) -> None:
    assert describe_provenance(summary) == ["", said]
    assert describe_provenance({}) == []


def test_commits_and_dates_are_named_once_and_a_changed_tree_is_told() -> None:
    parts = [{"commit": COMMIT, "date": "2026-01-02"}] * 2 + [
        {"commit": f"{COMMIT} with changes", "date": "2026-01-03"}
    ]
    assert when(parts) == "2026-01-02, commit 0123456789; 2026-01-03, commit 0123456789 with changes"
