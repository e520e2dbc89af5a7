"""Converts between keys and their spellings on the command line, such as `whp/ci`. No I/O."""

from __future__ import annotations

import click

from harborhook.api.names import GROUP, KIND_NAMES, WEBHOOK_POLICY, Key, KindName

_SPELLINGS = {
    spelling: name
    for name in KIND_NAMES.values()
    for spelling in (
        name.kind.lower(),
        name.plural,
        name.short,
        f"{name.plural}.{GROUP}",
        f"{name.kind.lower()}.{GROUP}",
    )
}


def kind_name(text: str) -> KindName:
    """Accepts every spelling that kubectl accepts. Raises click.UsageError."""
    found = _SPELLINGS.get(text.lower())
    if found is None:
        raise click.UsageError(f"There is no kind {text!r}: use {_all_short()}, or a name in full.")
    return found


def key_of(text: str, namespace: str) -> Key:
    """Parses KIND/NAME; `namespace` applies to namespaced kinds. Raises click.UsageError."""
    kind, slash, name = text.partition("/")
    if not slash or not kind or not name or "/" in name:
        raise click.UsageError(f"{text!r}: write KIND/NAME, for example whp/{text.replace('/', '-') or 'ci'}.")
    named = kind_name(kind)
    return Key(named.kind, namespace if named.namespaced else "", name)


def policy_key(text: str, namespace: str) -> Key:
    """Parses a WebhookPolicy, whose kind may be left out. Raises click.UsageError."""
    key = key_of(text if "/" in text else f"{WEBHOOK_POLICY.short}/{text}", namespace)
    if key.kind != WEBHOOK_POLICY.kind:
        raise click.UsageError(f"{text}: this command is for WebhookPolicies.")
    return key


def argument_of(key: Key) -> str:
    """Returns the form that users type: `whp/ci`."""
    return f"{KIND_NAMES[key.kind].short}/{key.name}"


def name_of(key: Key) -> str:
    """Returns the form that kubectl prints with `-o name`."""
    return f"{key.kind.lower()}.{GROUP}/{key.name}"


def _all_short() -> str:
    return ", ".join(name.short for name in KIND_NAMES.values())
