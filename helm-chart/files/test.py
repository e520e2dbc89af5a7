"""Asks the operator whether it is ready and shows metrics, for a minute: a new Service takes a while to be known."""

import os
import sys
import time
import urllib.request

operator = os.environ["OPERATOR"]
deadline = time.monotonic() + float(os.environ.get("SECONDS", "60"))
while True:
    try:
        with urllib.request.urlopen(f"{operator}/readyz", timeout=5):
            break
    except OSError as error:
        if time.monotonic() > deadline:
            sys.exit(f"{operator} is not ready: {error}")
    time.sleep(1)
with urllib.request.urlopen(f"{operator}/metrics", timeout=5) as answer:
    if b"harborhook_leader" not in answer.read():
        sys.exit(f"{operator}/metrics does not show harborhook_leader")
print(f"{operator} is ready")
