"""Measures of the product: each module is one command, `python -m benchmarks` runs those that need no GPU."""
