"""What PyInstaller asks whisperlite for when it freezes an application (the entry point `pyinstaller40`)."""

from __future__ import annotations

from pathlib import Path


def hook_dirs() -> list[str]:
    """The folder with the hooks."""
    return [str(Path(__file__).parent)]
