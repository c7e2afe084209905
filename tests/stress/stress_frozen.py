"""An application frozen by PyInstaller, in its own folder, without this environment: it needs what the hook names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import DATA

APPLICATION = """
import sys

import whisperlite

result = whisperlite.transcribe(sys.argv[1], language="en", vad_filter=True)
print(result.text)
"""


def test_a_frozen_application_transcribes(tmp_path: Path) -> None:
    program = tmp_path / "application.py"
    program.write_text(APPLICATION, encoding="utf-8")
    freeze = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN", str(program)]
    subprocess.run(freeze, cwd=tmp_path, check=True)
    executable = tmp_path / "dist" / "application" / "application"
    # Nothing of this environment: the ffmpeg of imageio-ffmpeg comes along, as do both packages' weights.
    bare = {name: os.environ[name] for name in ("SYSTEMROOT", "TEMP") if name in os.environ}
    bare |= {"PATH": "", "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    recording = DATA / "librivox.wav"
    answer = subprocess.run([executable, recording], env=bare, check=True, capture_output=True, encoding="utf-8")
    assert "amiable woman" in answer.stdout
