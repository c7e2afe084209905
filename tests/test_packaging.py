"""What users install: the wheel and the source archive, and a package that depends on them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import wave
import zipfile
from pathlib import Path

import pytest

from tests.distribution import (
    ROOT,
    build,
    build_wheel,
    faults_of_archive,
    faults_of_metadata,
    faults_of_wheel,
    lowest,
)

DOWNSTREAM = ROOT / "tests" / "downstream"
RECORDING = ROOT / "tests" / "data" / "librivox.wav"
# A shell's settings (an index, a proxy, a cache of types) are not to decide what is found.
PIP = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(wheel, source archive)."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def environment(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that holds the built wheel and, on top, the package that depends on it.

    What whisperlite itself depends on is seen through a path to the packages of this environment, behind its own: the
    wheel is what `import whisperlite` finds, and its requirements are resolved without a network.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / "python"
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    (packages / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install = [*PIP, "--python", str(python), "install", "--quiet", "--no-index"]
    subprocess.run([*install, "--no-deps", "--ignore-installed", str(built[0])], check=True)
    subprocess.run([*install, str(build_wheel(DOWNSTREAM, folder / "wheels"))], check=True)
    return python


def test_the_wheel_has_the_sources_the_licences_and_nothing_else(built: tuple[Path, Path]) -> None:
    assert faults_of_wheel(built[0]) == []


def test_the_source_archive_has_what_building_and_testing_need(built: tuple[Path, Path]) -> None:
    assert faults_of_archive(built[1]) == []


def test_the_working_tree_and_the_source_archive_build_the_same_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    assert build_wheel(ROOT, tmp_path).read_bytes() == built[0].read_bytes()


def test_a_wheel_that_lacks_a_file_or_has_one_too_many_is_found_out(built: tuple[Path, Path], tmp_path: Path) -> None:
    changed = tmp_path / built[0].name
    with zipfile.ZipFile(built[0]) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            if name != "whisperlite/py.typed":
                target.writestr(name, source.read(name))
        target.writestr("tests/__init__.py", "")
    assert [fault.split(": ")[1] for fault in faults_of_wheel(changed)] == [
        "whisperlite/py.typed is missing",
        "tests/__init__.py should not be there",
    ]


def test_metadata_that_a_registry_refuses_is_found_out() -> None:
    with pytest.raises(Exception, match="invalid or unparsed metadata"):
        faults_of_metadata("Metadata-Version: 2.1\nName: whisperlite\nVersion: one\n")


def test_every_dependency_states_its_lowest_version(built: tuple[Path, Path]) -> None:
    stated = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = stated.split("\ndependencies = [")[1].split("]")[0] + stated.split("\nffmpeg = [")[1].split("]")[0]
    expected = [f"{name.replace('_', '-')}=={version}" for name, version in re.findall(r'"([\w-]+)>=([\d.]+)', block)]
    assert lowest(built[0]) == sorted(expected)
    assert block.count('"') == 2 * len(expected)


def test_a_package_that_depends_on_the_wheel_runs_without_a_warning(environment: Path, tmp_path: Path) -> None:
    sentence = tmp_path / "meeting.wav"
    with wave.open(str(RECORDING)) as whole, wave.open(str(sentence), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(round(7.4 * whole.getframerate())))
    command = [str(environment.with_name("minutes")), str(sentence), str(tmp_path / "missing.wav")]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "error"})
    assert re.match(r"  00:00 And Mr\. John Dashwood", run.stdout)
    assert re.fullmatch(r".*missing\.wav.*\n", run.stderr)
    assert run.returncode == 1


def test_a_package_that_depends_on_the_wheel_type_checks_strictly(environment: Path) -> None:
    where = [str(environment), "-c", "import whisperlite; print(whisperlite.__file__)"]
    found = subprocess.run(where, check=True, capture_output=True, text=True).stdout
    assert Path(found).is_relative_to(environment.parents[1])
    check = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable", str(environment)]
    cache = ["--cache-dir", str(ROOT / ".mypy_cache" / "downstream")]
    run = subprocess.run([*check, *cache, "src"], capture_output=True, text=True, cwd=DOWNSTREAM)
    assert run.stdout == "Success: no issues found in 1 source file\n"
