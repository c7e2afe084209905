"""Whether whisperlite's word times are openai-whisper's, on real recordings: `python -m benchmarks.words`.

As in `benchmarks.parity`, two environments take part, and answers are kept in a store: `reference` runs where
openai-whisper is installed, everything else where whisperlite is.
"""
