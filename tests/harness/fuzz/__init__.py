"""Fuzzing of every parser of foreign text: `make fuzz`, and a few seconds of it in the unit tests."""
