"""`whp/ci` on the command line, and the other ways in which an object is named. No I/O."""

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
    """The kind in any spelling that kubectl takes. Raises click.UsageError."""
    found = _SPELLINGS.get(text.lower())
    if found is None:
        raise click.UsageError(f"There is no kind {text!r}: use {_all_short()}, or a name in full.")
    return found


def key_of(text: str, namespace: str) -> Key:
    """Of KIND/NAME; `namespace` counts for the kinds that have one. Raises click.UsageError."""
    kind, slash, name = text.partition("/")
    if not slash or not kind or not name or "/" in name:
        raise click.UsageError(f"{text!r}: write KIND/NAME, for example whp/{text.replace('/', '-') or 'ci'}.")
    named = kind_name(kind)
    return Key(named.kind, namespace if named.namespaced else "", name)


def policy_key(text: str, namespace: str) -> Key:
    """Of a WebhookPolicy, whose kind may be left out. Raises click.UsageError."""
    key = key_of(text if "/" in text else f"{WEBHOOK_POLICY.short}/{text}", namespace)
    if key.kind != WEBHOOK_POLICY.kind:
        raise click.UsageError(f"{text}: this command is for WebhookPolicies.")
    return key


def argument_of(key: Key) -> str:
    """As a person types it: `whp/ci`."""
    return f"{KIND_NAMES[key.kind].short}/{key.name}"


def name_of(key: Key) -> str:
    """As kubectl prints it with `-o name`."""
    return f"{key.kind.lower()}.{GROUP}/{key.name}"


def _all_short() -> str:
    return ", ".join(name.short for name in KIND_NAMES.values())
