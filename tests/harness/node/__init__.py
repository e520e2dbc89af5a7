"""A node for the tests' control plane: pods run on it, in containers, with addresses of their own.

Everything it needs is said in `requirements`, built by `programs` and `images`; `cluster` starts it. It lives in
namespaces of the kernel that `python -m harness.node` makes for it, so the machine's network and mounts stay as they
are, and everything ends with the process that began it.
"""
