"""What a connection names in Secrets and ConfigMaps: name and password for Harbor, and whose certificates to trust."""

from __future__ import annotations

import ssl

from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Reason
from harborhook.api.connections import AnyConnection
from harborhook.harbor.transport import Credentials
from harborhook.reconcile.secrets import Secrets


async def credentials_of(secrets: Secrets, connection: AnyConnection) -> Credentials:
    """Raises NotReady where the Secret or a key of it is missing or empty."""
    ref = connection.spec.credentials_secret_ref
    namespace = getattr(ref, "namespace", connection.metadata.namespace)
    source = Key("Secret", namespace, ref.name)

    async def text(key: str) -> str:
        value = await secrets.value(source, key)
        try:
            # Editors and `kubectl create secret --from-file` leave a newline at the end.
            stripped = value.decode().strip("\r\n")
        except UnicodeDecodeError:
            stripped = ""
        if not stripped:
            raise NotReady(
                Reason.INVALID_SPEC, f"Key {key!r} of Secret {namespace}/{ref.name} is empty or no UTF-8 text."
            )
        return stripped

    return Credentials(await text(ref.username_key), await text(ref.password_key))


async def ca_bundle_of(secrets: Secrets, connection: AnyConnection) -> bytes | None:
    ref = connection.spec.tls.ca_bundle_ref
    if ref is None:
        return None
    namespace = getattr(ref, "namespace", connection.metadata.namespace)
    return await secrets.value(Key(ref.kind, namespace, ref.name), ref.key)


def trust_of(connection: AnyConnection, bundle: bytes | None) -> ssl.SSLContext:
    ref = connection.spec.tls.ca_bundle_ref
    name = f"{ref.kind} {ref.name}, key {ref.key!r}," if ref else "The CA bundle"
    return trust(bundle, name, skip_verify=connection.spec.tls.insecure_skip_verify)


def trust(bundle: bytes | None, name: str, *, skip_verify: bool) -> ssl.SSLContext:
    """The system's authorities and those of the bundle. Raises NotReady for a bundle, called `name`, without any."""
    context = ssl.create_default_context()
    if skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if bundle is not None:
        try:
            # Certificates are ASCII; comments between them need not be, and ssl takes nothing else.
            context.load_verify_locations(cadata=bundle.decode("ascii", errors="ignore"))
        except (ssl.SSLError, ValueError):
            raise NotReady(Reason.INVALID_SPEC, f"{name} holds no certificates in PEM format.") from None
    return context
