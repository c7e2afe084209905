"""Text to token ids and back: the vocabularies of Whisper's checkpoints, and the meaning of their tokens."""
