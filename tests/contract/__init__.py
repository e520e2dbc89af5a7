"""What Harbor answers: recordings of real ones, and scenarios that any Harbor must pass."""
