"""What is made up where nobody speaks, and what is lost where somebody does: `python -m benchmarks.silence`."""
