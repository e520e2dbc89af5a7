"""Measuring the operator: `make bench` (how fast, how many requests and writes) and `make soak` (for how long)."""
