"""whisperlite beside openai-whisper, faster-whisper, transformers and whisper.cpp: time, errors and memory.

Each library lives in a process of its own with the same weights, recordings and number of threads; sides take turns.
`settings` says what is asked and what is claimed, in plain values that both environments read, `libraries` answers it
in the environment of its library through `worker`, and `compare` takes turns and counts errors. `memory`, `growth`,
`roofline` and `neighbour` measure what is not a comparison of libraries; `report` and `plot` write the page.
"""
