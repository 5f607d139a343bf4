"""How fast each stage is, next to the naive way of doing the same: `python -m benchmarks --help`, `docs/benchmarks.md`."""
