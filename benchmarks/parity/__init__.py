"""Whether whisperlite's tokens are openai-whisper's, run by run, on real recordings: `python -m benchmarks.parity`.

Two environments take part. `reference` and `judge` run in the reference's, where openai-whisper is installed and
whisperlite is not; everything else runs in the project's. They share the plain values of `matrix` and the answers kept
in `store`.
"""
