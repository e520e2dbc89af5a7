"""The answers of Harbor: recordings of real ones, and scenarios that every Harbor must pass."""
