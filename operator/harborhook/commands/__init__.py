"""The commands besides `run`. They work with the caller's rights and reuse the operator's code."""
