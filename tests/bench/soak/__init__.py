"""The soak: random edits and faults in turn, for as long as one likes, and after each the same questions.

`model` knows what was declared; `edits` change it, in the cluster or behind the operator's back; `faults` break
something; `invariants` compare the model with Harbor and with the statuses; `memory` judges the operator's growth.
"""
