"""`python -m harness.control_plane`: runs a control plane until Ctrl-C, or only builds its programs."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress
from pathlib import Path

from harness.control_plane import ControlPlane, ControlPlaneError, binaries

_USAGE = """\
A Kubernetes control plane is running at {url}, in {directory}.

  export KUBECONFIG={kubeconfig}
  export PATH={programs}:$PATH
  kubectl get namespaces

There is no node, so pods are stored but never run. Logs: {logs}
Ctrl-C ends it{and_removes}."""


def main() -> int:
    arguments = _parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end in order, as with Ctrl-C
    try:
        if arguments.command == "build":
            _build()
        else:
            _run(arguments.directory)
    except ControlPlaneError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m harness.control_plane", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "build"], default="run")
    parser.add_argument("--directory", type=Path, help="keep data and logs there (default: a temporary directory)")
    return parser.parse_args()


def _build() -> None:
    print(f"The control plane's programs are in {binaries.find(_say).kubectl.parent}")


def _run(directory: Path | None) -> None:
    _say("Starting a control plane ...")
    with ControlPlane.start(directory, progress=_say) as control_plane:
        print(
            _USAGE.format(
                url=control_plane.url,
                directory=control_plane.directory,
                kubeconfig=control_plane.kubeconfig,
                programs=control_plane.programs,
                logs=control_plane.paths.logs,
                and_removes="" if directory else " and removes the directory",
            ),
            flush=True,
        )
        with suppress(KeyboardInterrupt):
            signal.pause()
        _say("Stopping ...")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
