"""Builds the files of a release for `make dist`: the same bytes from the same commit."""
