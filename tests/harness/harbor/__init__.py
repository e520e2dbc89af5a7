"""A stand-in for a Harbor registry: its API, its webhook deliveries and as much of its registry as they need.

It reproduces what was recorded from real Harbors (`tests/data/`); the contract tests hold it to those recordings.
"""
