"""Answers that are slow to make, one small file each, named by the SHA-256 of their question.

A file appears complete or not at all, so any number of processes may fill a store, and may be killed, at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Question = dict[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of answers; question and answer are JSON objects."""

    folder: Path

    def get(self, question: Question) -> Answer | None:
        try:
            text = self._path(question).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        answer: Answer = json.loads(text)["answer"]
        return answer

    def put(self, question: Question, answer: Answer) -> None:
        path = self._path(question)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps({"question": question, "answer": answer}, ensure_ascii=False), encoding="utf-8")
        part.replace(path)

    def _path(self, question: Question) -> Path:
        name = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:34]}.json"


def read_lines(path: Path) -> Iterator[Any]:
    """Yield the objects of a JSON-lines file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def write_lines(path: Path, objects: Iterable[Any]) -> None:
    """Write a JSON-lines file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects), encoding="utf-8")


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
