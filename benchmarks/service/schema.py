"""The service against its own OpenAPI document: `python -m benchmarks.service.schema`.

schemathesis makes requests from the document, right and wrong ones, with a new seed each time until the time is over.
No answer may be a server error, and each has to have a status, a content type and a body that the document states.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.parity.environment import ROOT
from benchmarks.service.processes import serving
from benchmarks.service.schema_hooks import MODEL, ORGANISATION, WEBHOOK_HOST

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
_LEAST_S = 10  # less is no further round
_EXAMPLES = 50  # of each operation in a round


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service.schema",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="base")
    parser.add_argument("--minutes", type=float, default=10.0, help="at least so long")
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rounds = test_service(arguments.model, arguments.minutes * 60, arguments.seed, Path(temporary))
    for seed, seconds, code in rounds:
        print(f"seed {seed}: {'nothing found' if code == 0 else f'findings (exit status {code})'}, {seconds:.0f} s")
    failed = sum(code != 0 for _, _, code in rounds)
    print(f"{len(rounds)} rounds, {sum(seconds for _, seconds, _ in rounds):.0f} s, {failed} with findings")
    raise SystemExit(1 if failed else 0)


def test_service(model: str, seconds: float, seed: int, folder: Path) -> list[tuple[int, float, int]]:
    """Test in rounds; return the seed, duration and exit status of each."""
    command = str(Path(sys.executable).with_name("whisperlite"))
    made = subprocess.run([command, "token", "--data-dir", str(folder)], capture_output=True, text=True, check=True)
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    limits = ["--max-duration-s", "5", "--webhook-allow-hosts", WEBHOOK_HOST]
    limits += ["--served-names", f"{ORGANISATION}/{MODEL}"]
    rounds: list[tuple[int, float, int]] = []
    with serving(["--model", model, *limits], variables, folder) as (process, port):
        start = time.monotonic()
        while not rounds or (seconds - (time.monotonic() - start)) > 0:
            began = time.monotonic()
            left = max(_LEAST_S, round(seconds - (began - start)))
            code = _run_round(port, made.stdout.strip(), seed + len(rounds), left, variables, folder)
            rounds.append((seed + len(rounds), time.monotonic() - began, code))
            if process.poll() is not None:
                raise SystemExit(f"The service ended by itself: exit code {process.returncode}.")
    return rounds


def _run_round(port: int, token: str, seed: int, most_s: int, variables: Mapping[str, str], folder: Path) -> int:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"http://127.0.0.1:{port}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {token}", "--checks", ",".join(CHECKS), "--seed", str(seed)]
    command += ["--max-examples", str(_EXAMPLES), "--max-time", str(most_s), "--continue-on-failure"]
    command += ["--generation-database", "none", "--request-timeout", "60", "--no-color"]
    hooks = {**variables, "SCHEMATHESIS_HOOKS": "benchmarks.service.schema_hooks"}
    return subprocess.run(command, env=hooks, cwd=folder).returncode


if __name__ == "__main__":
    main()
