"""The Silero VAD network: frames of 32 ms → the probability of speech in each.

Its weights are read from the package `silero-vad`, whose code is not run; decision 0004 says why.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whisperlite.errors import CheckpointError, MissingPackageError

_STRIDES = {"conv1": 1, "conv2": 2, "conv3": 2, "conv4": 1}
State = tuple[Tensor, Tensor]  # of the LSTM, each (1, 1, 128)


@dataclass(frozen=True, slots=True, eq=False)
class Silero:
    """Silero VAD 6 at 16 kHz: a spectrum, four convolutions, an LSTM. It has no state of its own."""

    weights: dict[str, Tensor]

    def initial_state(self) -> State:
        zeros = torch.zeros(1, 1, 128, dtype=torch.float32, device="cpu")
        return zeros, zeros

    def __call__(self, frames: Tensor, state: State) -> tuple[Tensor, State]:
        """Successive frames (n, 576) → their probabilities (n,), and the state for the next frames."""
        weights = self.weights
        mirrored = F.pad(frames[:, None], (0, 64), mode="reflect")
        real, imaginary = F.conv1d(mirrored, weights["stft.weight"], stride=128).chunk(2, dim=1)
        x = (real.square() + imaginary.square()).sqrt()  # (n, 129, 4)
        for name, stride in _STRIDES.items():
            x = F.conv1d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=stride, padding=1).relu()
        # x: (n, 128, 1). So far the frames were a batch; for the LSTM they are a sequence.
        parameters = [weights[f"lstm.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        hidden, *state_after = torch.lstm(x.permute(0, 2, 1), state, parameters, True, 1, 0.0, False, False, False)
        last = F.linear(hidden.squeeze(1).relu(), weights["last.weight"], weights["last.bias"])
        return last.squeeze(1).sigmoid(), (state_after[0], state_after[1])


_DISTRIBUTION = "silero-vad"
_WEIGHTS = "silero_vad/data/silero_vad.jit"
_SHA256 = "e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720"
_INSTALL = "pip install 'whisperlite[vad]'"
# The file is a zip archive with an entry for each tensor's numbers, from `data/2` on in this order. The rest
# (TorchScript and the network for 8 kHz) is ignored.
_FIRST_ENTRY = 2
_SHAPES = {
    "stft.weight": (258, 1, 256),
    "conv1.weight": (128, 129, 3),
    "conv1.bias": (128,),
    "conv2.weight": (64, 128, 3),
    "conv2.bias": (64,),
    "conv3.weight": (64, 64, 3),
    "conv3.bias": (64,),
    "conv4.weight": (128, 64, 3),
    "conv4.bias": (128,),
    "lstm.weight_ih": (512, 128),
    "lstm.weight_hh": (512, 128),
    "lstm.bias_ih": (512,),
    "lstm.bias_hh": (512,),
    "last.weight": (1, 128),
    "last.bias": (1,),
}


def check_installed() -> None:
    """Check, before any audio is read, that speech can be found.

    Raises:
        MissingPackageError: silero-vad is not installed.
        CheckpointError: its weights are damaged, or of another version.
    """
    load_silero()


@cache
def load_silero() -> Silero:
    """Load the network. It is loaded once, and shared by all threads."""
    path = _weights_file()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); install {_DISTRIBUTION} again.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        raise CheckpointError(
            f"{path} of {_DISTRIBUTION} {metadata.version(_DISTRIBUTION)} has SHA-256 {found}, expected {_SHA256}: "
            f"it is damaged, or of a version with other weights; {_INSTALL} --force-reinstall"
        )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        folder = archive.namelist()[0].split("/")[0]
        entries = [archive.read(f"{folder}/data/{n}") for n in range(_FIRST_ENTRY, _FIRST_ENTRY + len(_SHAPES))]
    return Silero(
        {
            name: torch.from_numpy(np.frombuffer(entry, dtype="<f4").astype(np.float32).reshape(shape))
            for (name, shape), entry in zip(_SHAPES.items(), entries, strict=True)
        }
    )


def _weights_file() -> Path:
    """Find the file in the installed distribution, without importing the package."""
    try:
        distribution = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise MissingPackageError(
            f"vad_filter=True and chunking='vad' need the package {_DISTRIBUTION}, which is not installed: {_INSTALL}"
        ) from error
    path = Path(str(distribution.locate_file(_WEIGHTS)))
    if not path.is_file():
        raise MissingPackageError(
            f"vad_filter=True and chunking='vad' need {_WEIGHTS}, which the installed {_DISTRIBUTION} "
            f"{distribution.version} lacks: {_INSTALL} --force-reinstall"
        )
    return path
