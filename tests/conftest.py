"""What every test can ask for: a control plane, a Harbor, a webhook receiver."""

import signal

pytest_plugins = [
    "harness.control_plane_fixtures",
    "harness.crd_fixtures",
    "harness.harbor_fixtures",
    "harness.trail_of_the_run",
]

# Started in the background of a shell, pytest ignores Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
