"""The source archive and the wheel: built, checked, and what they depend on at the least.

python -m tests.distribution build FOLDER     build both into FOLDER and say what is wrong with them
python -m tests.distribution lowest WHEEL     print the lowest versions that it allows, as constraints for pip
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from packaging.metadata import Metadata
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "whisperlite"
LICENCES = ("LICENSE", "src/whisperlite/text/assets/LICENSE")
EXTRAS = {"base", "tiny-en", "ffmpeg", "vad", "server", "dev", "test", "docs"}


def build(folder: Path) -> tuple[Path, Path]:
    """Build both into a folder, the wheel from the source archive; (wheel, source archive)."""
    _run_build(ROOT, folder)
    (wheel,) = folder.glob("whisperlite-*.whl")
    (archive,) = folder.glob("whisperlite-*.tar.gz")
    return wheel, archive


def build_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel of a project straight from its folder."""
    _run_build(project, folder, "--wheel")
    (wheel,) = folder.glob("*.whl")
    return wheel


def _run_build(project: Path, folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), *arguments, str(project)]
    subprocess.run(command, check=True, capture_output=True)


def faults_of_wheel(wheel: Path) -> list[str]:
    """Files that are missing or should not be there, and metadata that is not valid."""
    with zipfile.ZipFile(wheel) as content:
        found = {name for name in content.namelist() if not name.endswith("/")}
        (information,) = {name.split("/")[0] for name in found if ".dist-info/" in name}
        metadata = content.read(f"{information}/METADATA").decode()
    sources = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    expected = {path.relative_to(PACKAGE.parent).as_posix() for path in sources}
    expected |= {f"{information}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    expected |= {f"{information}/licenses/{name}" for name in LICENCES}
    faults = [f"{wheel.name}: {name} is missing" for name in sorted(expected - found)]
    faults += [f"{wheel.name}: {name} should not be there" for name in sorted(found - expected)]
    return faults + faults_of_metadata(metadata)


def faults_of_metadata(text: str) -> list[str]:
    """What this project promises of it; what a registry would refuse raises an ExceptionGroup."""
    metadata = Metadata.from_email(text, validate=True)
    faults = []
    if set(metadata.provides_extra or ()) != EXTRAS:
        faults.append(f"METADATA: the extras are {sorted(metadata.provides_extra or ())}, not {sorted(EXTRAS)}")
    if metadata.description_content_type != "text/markdown" or not metadata.description:
        faults.append("METADATA: there is no description in Markdown")
    unbounded = [str(each) for each in metadata.requires_dist or () if not each.specifier]
    return faults + [f"METADATA: {name} has no lower bound" for name in unbounded]


def faults_of_archive(archive: Path) -> list[str]:
    """What is missing for building and testing from it, and what slipped in."""
    with tarfile.open(archive) as content:
        names = {name.split("/", 1)[1] for name in content.getnames() if "/" in name}
    needed = {"pyproject.toml", "README.md", "CHANGELOG.md", "Makefile", "tests/data/librivox.wav", *LICENCES}
    faults = [f"{archive.name}: {name} is missing" for name in sorted(needed - names)]
    built = sorted(name for name in names if {"__pycache__", "site", "dist", "build"} & set(name.split("/")))
    return faults + [f"{archive.name}: {name} should not be there" for name in built]


def lowest(wheel: Path) -> list[str]:
    """The lowest version of each run-time dependency and of the ffmpeg extra, as constraints for pip."""
    with zipfile.ZipFile(wheel) as content:
        (name,) = (name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        headers = HeaderParser().parsestr(content.read(name).decode())
    requirements = [Requirement(text) for text in headers.get_all("Requires-Dist", [])]
    chosen = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": "ffmpeg"})]
    return sorted(f"{each.name}=={part.version}" for each in chosen for part in each.specifier if part.operator == ">=")


def main(command: str, path: Path) -> int:
    if command == "lowest":
        print(*lowest(path), sep="\n")
        return 0
    for old in path.glob("whisperlite-*"):
        old.unlink()
    wheel, archive = build(path)
    faults = faults_of_wheel(wheel) + faults_of_archive(archive)
    print(*(faults or (wheel, archive)), sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
