"""What every test can ask for: a control plane, a Harbor, a webhook receiver."""

pytest_plugins = ["harness.control_plane_fixtures", "harness.crd_fixtures", "harness.harbor_fixtures"]
