"""A node for the tests' control plane: it runs pods in containers with their own addresses.

`requirements` lists what it needs, `programs` and `images` build it, `cluster` starts it. It lives in namespaces of the
kernel that `python -m harness.node` creates, so the machine's network and mounts stay unchanged, and everything ends
with the process that started it.
"""
