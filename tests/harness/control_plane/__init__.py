"""A Kubernetes control plane for tests and the demo, without containers: etcd, API server, controllers, kubectl.

    with ControlPlane.start() as control_plane:
        control_plane.apply(Path("crds"))
        position = control_plane.audit_position()
        ...
        assert control_plane.writes("system:serviceaccount:harborhook:harborhook", since=position) == []

By hand: `PYTHONPATH=tests python -m harness.control_plane`.
"""

from harness.control_plane.audit import AuditEntry
from harness.control_plane.errors import ControlPlaneError, KubectlError, RefusedError
from harness.control_plane.plane import ControlPlane

__all__ = ["AuditEntry", "ControlPlane", "ControlPlaneError", "KubectlError", "RefusedError"]
