"""Pure functions from desired and observed state to actions. No I/O, no clock, no state."""
