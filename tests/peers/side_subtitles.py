"""openai-whisper's side of `peers_subtitles.py`, run by its Python: the cases of cases.json → files under theirs/."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

writer_of = importlib.import_module("whisper.utils").get_writer
folder = Path("theirs")
folder.mkdir()
count = 0
for case in json.loads(Path("cases.json").read_text(encoding="utf-8")):
    for name, options in case["options"].items():
        for extension in case["formats"]:
            writer_of(extension, str(folder))(case["result"], f"{case['name']}-{name}.wav", **options)
            count += 1
text = str(count)
