"""Text to token ids and back: the vocabularies of Whisper's checkpoints and what their tokens mean."""
