"""Python reads this when it starts the operator's process: it hides a package that only the tests need.

The Kubernetes client imports kubernetes_validate where it is installed. That takes 1.6 s of CPU, more than the rest of
the operator's start, and the image does not have that package.
"""

import sys

sys.modules["kubernetes_validate"] = None  # type: ignore[assignment]
