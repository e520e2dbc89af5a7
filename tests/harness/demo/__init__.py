"""`make demo`: shows the operator step by step on a cluster and a Harbor stand-in.

`stage` starts and ends the parts, `story` has the steps, `screen` prints, `examples` fills in the placeholders of
manifests/examples. Every step verifies its claims and fails if one does not come true.
"""
