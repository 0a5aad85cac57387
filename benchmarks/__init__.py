"""How fast it is: `python -m benchmarks`, explained in docs/benchmarks.md."""
