"""The peer: a service around faster-whisper as it is commonly written, in the environment of the peers.

`SERVICE_MODEL` names the folder of the weights, `SERVICE_COMPUTE_TYPE` the precision, `SERVICE_WORKERS` how many
requests are computed at a time, and `SERVICE_THREADS` the threads of each.
"""

from __future__ import annotations

import os

from fastapi import FastAPI, Form, UploadFile
from faster_whisper import WhisperModel

app = FastAPI()
model = WhisperModel(
    os.environ["SERVICE_MODEL"],
    device="cpu",
    compute_type=os.environ["SERVICE_COMPUTE_TYPE"],
    cpu_threads=int(os.environ["SERVICE_THREADS"]),
    num_workers=int(os.environ["SERVICE_WORKERS"]),
    local_files_only=True,
)


@app.post("/transcribe")  # type: ignore[untyped-decorator]
def transcribe(file: UploadFile, language: str | None = Form(None), beam_size: int = Form(5)) -> dict[str, object]:
    """The text of an uploaded recording; FastAPI runs this on its threads."""
    segments, info = model.transcribe(file.file, language=language, beam_size=beam_size)
    return {"text": "".join(segment.text for segment in segments), "language": info.language}
