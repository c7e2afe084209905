"""Comparisons with openai-whisper: the same tokens (`parity`), the same error rate (`wer`), less time (`speed`)."""
