"""The fixtures that every test can use: a control plane, a Harbor, a webhook receiver."""

import signal

from hypothesis import settings

pytest_plugins = [
    "harness.control_plane_fixtures",
    "harness.crd_fixtures",
    "harness.harbor_fixtures",
    "harness.trail_of_the_run",
]

# Started in the background of a shell, pytest ignores Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long a text takes is up to the machine, which may be busy.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
