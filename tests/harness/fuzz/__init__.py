"""Fuzzing of every parser that reads what others wrote: `make fuzz`, and a few seconds of it in the unit tests."""
