"""Hides a package that only the tests need. Python imports this module when it starts the operator's process.

The Kubernetes client imports kubernetes_validate if it is installed. That takes 1.6 s of CPU, more than the rest of the
operator's start, and the image does not contain the package.
"""

import sys

sys.modules["kubernetes_validate"] = None  # type: ignore[assignment]
