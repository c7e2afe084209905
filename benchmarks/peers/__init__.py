"""The same recordings through whisperlite, openai-whisper and faster-whisper, with the same weights and settings.

`requests` says what is asked, in plain values that both environments read. `worker` answers in the environment of its
library, and `desk` hands out the work and finds the answers.
"""
