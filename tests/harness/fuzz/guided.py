"""Coverage-guided fuzzing of one target for some seconds, by atheris: `make fuzz-guided` runs this for each target.

libFuzzer, which atheris includes, mutates stored texts and continues with those that reach new code; they stay in
build/fuzz. A text that breaks the target is stored in tests/data/fuzz. atheris is not a dependency of the project,
because it lacks wheels for some versions of Python.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import atheris

from harness.fuzz.corpus import keep, seeds
from harness.paths import REPOSITORY

LONGEST = 4096
"""Maximum bytes of a text."""

with atheris.instrument_imports(include=["harborhook"]):
    from harness.fuzz.targets import TARGETS


def main() -> None:
    """Does not return: libFuzzer ends the process, with a status other than 0 if a text has broken the target."""
    parser = argparse.ArgumentParser(prog="python -m harness.fuzz.guided", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    stated = parser.parse_args()
    corpus = REPOSITORY / "build/fuzz" / stated.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(seeds(stated.target)):
        (corpus / f"kept-{number}").write_bytes(text.encode(errors="surrogatepass")[:LONGEST])
    options = [f"-max_total_time={stated.seconds}", f"-max_len={LONGEST}", "-print_final_stats=1", "-verbosity=0"]
    command = [sys.argv[0], *options, f"-artifact_prefix={corpus.parent}/", str(corpus)]
    atheris.Setup(command, _fed_with_bytes(stated.target, TARGETS[stated.target]))
    atheris.Fuzz()


def _fed_with_bytes(name: str, target: Callable[[str], None]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        text = data.decode(errors="surrogateescape")
        try:
            target(text)
        except BaseException:
            keep(name, text)
            print(f"BROKEN {name} by {text!r}", file=sys.stderr)
            raise

    return run


if __name__ == "__main__":
    main()
