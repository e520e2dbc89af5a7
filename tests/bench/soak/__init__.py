"""The soak: random edits and faults in turn, for a given time, with the same checks after each fault.

`model` holds the declared state. `edits` change it, in the cluster or directly in Harbor. `faults` break something.
`invariants` compare the model with Harbor and with the statuses. `memory` judges the growth of the operator's memory.
"""
