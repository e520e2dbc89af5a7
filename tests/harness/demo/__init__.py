"""`make demo`: the operator at work on a cluster and a Harbor stand-in, step by step.

`stage` starts and ends what takes part, `story` is what happens, `screen` is what is printed, `examples` fills in the
placeholders of manifests/examples. Every step waits for what it claims and fails if it does not come.
"""
