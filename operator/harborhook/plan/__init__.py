"""Pure functions from what is desired and what is observed to what is to be done. No I/O, no clock, no state."""
