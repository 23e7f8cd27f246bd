"""The sections of `benchmarks/gpu.py`: each a function from a `Run` to rows, as they are measured."""
