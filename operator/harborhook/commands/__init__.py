"""The commands besides `run`: what a person asks of Harbor, over the same code that the operator works with."""
