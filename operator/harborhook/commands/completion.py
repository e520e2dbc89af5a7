"""Completion scripts for shells, and the answers for kubectl, which calls a separate program for plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROGRAM = "harborhook"
VARIABLE = "_HARBORHOOK_COMPLETE"
NO_FILES = ":4"
"""The last line that kubectl expects: a bit mask that disables file names."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash:  source <(harborhook completion bash)            # in ~/.bashrc
    zsh:   source <(harborhook completion zsh)             # in ~/.zshrc
    fish:  harborhook completion fish > ~/.config/fish/completions/harborhook.fish

    For kubectl harborhook nothing is needed besides kubectl's own completion (1.26 or newer).
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(click.get_current_context().find_root().command, {}, PROGRAM, VARIABLE).source())


def answer_for_kubectl(command: click.Command, words: list[str]) -> str:
    """Returns the output of kubectl_complete-harborhook; the last word is the one to complete."""
    from click.shell_completion import ShellComplete

    *before, incomplete = words or [""]
    items = ShellComplete(command, {}, PROGRAM, VARIABLE).get_completions(before, incomplete)
    return "".join([*(_line(item) for item in items if item.type == "plain"), NO_FILES, "\n"])


def _line(item: CompletionItem) -> str:
    said = f"\t{item.help}" if item.help else ""
    return f"{item.value}{said}\n"
