"""Reads the index of weights that are in several files (shards), as Hugging Face writes it."""

from __future__ import annotations

import re
from pathlib import Path

from whisperlite.errors import CheckpointError
from whisperlite.text.files import read_json_object


def read_index(path: Path) -> dict[str, set[str]]:
    """The shards that an index lists, with the stored names of the tensors in each.

    Raises:
        CheckpointError: it is not an index, or a shard is not a weights file in the index's own folder.
    """
    weight_map = read_json_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{path} is not the index of a model in parts: it has no weight_map.")
    kind = ".safetensors" if path.name.startswith("model.") else ".bin"
    shards: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        if not (isinstance(shard, str) and re.fullmatch(r"\w[\w.-]*", shard, re.ASCII) and shard.endswith(kind)):
            raise CheckpointError(f"{path} lists the file {shard!r}; only {kind} files in its own folder are read.")
        shards.setdefault(shard, set()).add(tensor)
    return shards
