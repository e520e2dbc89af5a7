"""Reads kubeconfig files, or a pod's service account, into what commands/cluster.py needs for requests.

The Kubernetes client can read a kubeconfig too, but takes longer to import than a whole command runs. This module
supports what kubectl does: several files in KUBECONFIG, certificates and tokens in the file or beside it, exec plugins
(used by the large clouds), impersonation, proxy-url. It sends nothing.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harborhook.commands.failures import FailedError
from harborhook.tls import (
    ClientCertificate,
    TLSOptions,
    UnusableAuthoritiesError,
    UnusableClientCertificateError,
)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_KUBECONFIG = Path("~/.kube/config")
EXEC_SECONDS = 120.0
"""Seconds; an exec plugin may open a browser and wait for the user to log in."""

KubeconfigEntry = Mapping[str, Any]


@dataclass(frozen=True)
class CallerCredentials:
    """The user's credentials; no repr shows them."""

    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Access:
    """Address of the API server, and the user."""

    context: str
    """Name of the context for messages; empty in a pod."""
    server: str
    namespace: str
    authorities: bytes | None = field(repr=False)
    """PEM; None: the system's authorities."""
    insecure_skip_verify: bool
    server_name: str | None
    proxy: str | None
    user: KubeconfigEntry = field(repr=False)
    directory: Path = field(repr=False)
    """Directory of the file that defines the user: paths there are relative to it."""

    @property
    def label(self) -> str:
        return f"the cluster of context {self.context}" if self.context else "this cluster"

    def credentials(self) -> CallerCredentials:
        """Reads the credentials again for each call: tokens in files are rotated, those of exec plugins expire. Raises
        FailedError."""
        return _credentials(self)

    def trust(self, credentials: CallerCredentials) -> ssl.SSLContext:
        """Raises FailedError for unusable certificates."""
        client = None
        if credentials.certificate and credentials.key:
            client = ClientCertificate(credentials.certificate, credentials.key)
        options = TLSOptions(self.authorities, ca_alone=True, skip_verify=self.insecure_skip_verify, client=client)
        try:
            return options.context
        except UnusableAuthoritiesError as error:
            raise FailedError(f"The certificate authority of {self.label} {error}.") from None
        except UnusableClientCertificateError as error:
            raise FailedError(f"The client certificate for {self.label} {error}.") from None


def access(kubeconfig: str | None = None, context: str | None = None) -> Access:
    """Reads the given file, those in KUBECONFIG, ~/.kube/config, or the pod's service account. Raises FailedError."""
    stated = kubeconfig or os.environ.get("KUBECONFIG")
    if not stated and not DEFAULT_KUBECONFIG.expanduser().exists() and (SERVICE_ACCOUNT / "token").exists():
        return _of_pod()
    files = [Path(name) for name in stated.split(os.pathsep) if name] if stated else [DEFAULT_KUBECONFIG.expanduser()]
    if kubeconfig:
        files = [Path(kubeconfig)]
    return _of_files(files, context, must_exist=bool(kubeconfig) or not stated)


def contexts(kubeconfig: str | None = None) -> list[str]:
    """Returns the names of all contexts, for completion. Raises FailedError."""
    stated = kubeconfig or os.environ.get("KUBECONFIG") or str(DEFAULT_KUBECONFIG.expanduser())
    return sorted(_merged([Path(name) for name in stated.split(os.pathsep) if name], must_exist=False).contexts)


# Files


@dataclass
class _Merged:
    """Several files merged: the first of several entries with one name counts, as in kubectl."""

    current: str = ""
    clusters: dict[str, tuple[KubeconfigEntry, Path]] = field(default_factory=dict)
    users: dict[str, tuple[KubeconfigEntry, Path]] = field(default_factory=dict)
    contexts: dict[str, KubeconfigEntry] = field(default_factory=dict)

    def add(self, file: Path, content: KubeconfigEntry) -> None:
        self.current = self.current or content.get("current-context") or ""
        for item in content.get("contexts") or []:
            self.contexts.setdefault(item["name"], item.get("context") or {})
        for section, singular, found in (("clusters", "cluster", self.clusters), ("users", "user", self.users)):
            for item in content.get(section) or []:
                found.setdefault(item["name"], (item.get(singular) or {}, file.parent))


def _merged(files: Sequence[Path], *, must_exist: bool) -> _Merged:
    merged = _Merged()
    for file in files:
        try:
            merged.add(file, _parsed(file))
        except FileNotFoundError:
            if must_exist:
                raise FailedError(_missing(file)) from None
        except OSError as error:
            raise FailedError(f"The kubeconfig {file} cannot be read: {_reason(error)}.") from None
        except (LookupError, TypeError, AttributeError, ValueError):
            raise FailedError(f"The kubeconfig {file} cannot be used: its content is malformed.") from None
    return merged


def _missing(file: Path) -> str:
    if file == DEFAULT_KUBECONFIG.expanduser():
        return (
            f"There is no kubeconfig: {DEFAULT_KUBECONFIG} does not exist, and KUBECONFIG is not set. "
            "Name one with --kubeconfig."
        )
    return f"The kubeconfig {file} does not exist."


def _parsed(file: Path) -> KubeconfigEntry:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - both loaders are safe
    except yaml.YAMLError:  # its text may quote a token
        raise ValueError from None
    return dict(content or {})


def _of_files(files: Sequence[Path], context: str | None, *, must_exist: bool) -> Access:
    merged = _merged(files, must_exist=must_exist)
    name = context or merged.current
    if not name:
        raise FailedError(f"No context is selected in the kubeconfig; --context names one of: {_listed(merged)}.")
    if name not in merged.contexts:
        raise FailedError(f"The kubeconfig has no context {name!r}; it has: {_listed(merged, name)}.")
    chosen = merged.contexts[name]
    try:
        cluster, cluster_directory = merged.clusters[chosen["cluster"]]
        user, directory = merged.users[chosen["user"]] if chosen.get("user") else ({}, cluster_directory)
        server = str(cluster["server"])
    except KeyError as missing:
        raise FailedError(
            f"The context {name!r} of the kubeconfig cannot be used: {missing.args[0]!r} is missing."
        ) from None
    if not server.startswith(("https://", "http://")):
        raise FailedError(f"The server of context {name!r} is not an https:// or http:// address.")
    return Access(
        context=name,
        server=server.rstrip("/"),
        namespace=chosen.get("namespace") or "default",
        authorities=_bytes(cluster, "certificate-authority", cluster_directory),
        insecure_skip_verify=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name") or None,
        proxy=cluster.get("proxy-url") or None,
        user=user,
        directory=directory,
    )


def _listed(merged: _Merged, like: str = "") -> str:
    """Returns the contexts, the most similar first."""
    near = get_close_matches(like, merged.contexts, n=3)
    return ", ".join([*near, *sorted(name for name in merged.contexts if name not in near)]) or "none"


def _of_pod() -> Access:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        return Access(
            context="",
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            namespace=(SERVICE_ACCOUNT / "namespace").read_text().strip() or "default",
            authorities=(SERVICE_ACCOUNT / "ca.crt").read_bytes(),
            insecure_skip_verify=False,
            server_name=None,
            proxy=None,
            user={"tokenFile": str(SERVICE_ACCOUNT / "token")},
            directory=SERVICE_ACCOUNT,
        )
    except OSError as error:
        raise FailedError(f"The service account in {SERVICE_ACCOUNT} cannot be used: {_reason(error)}.") from None


# Users


def _credentials(access: Access) -> CallerCredentials:
    user, directory = access.user, access.directory
    headers = _impersonation(user)
    certificate = _bytes(user, "client-certificate", directory)
    key = _bytes(user, "client-key", directory)
    token = _token(user, directory)
    if "exec" in user:
        status = _executed(access, user["exec"])
        token = status.get("token") or token
        if status.get("clientCertificateData") and status.get("clientKeyData"):
            certificate, key = status["clientCertificateData"].encode(), status["clientKeyData"].encode()
    if token:
        headers.append(("Authorization", f"Bearer {token}"))
    elif user.get("username"):
        login = f"{user['username']}:{user.get('password', '')}".encode()
        headers.append(("Authorization", f"Basic {base64.b64encode(login).decode()}"))
    return CallerCredentials(headers, certificate, key)


def _token(user: KubeconfigEntry, directory: Path) -> str:
    if not user.get("tokenFile"):
        return str(user.get("token") or "")
    file = directory / str(user["tokenFile"])
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise FailedError(f"The token file {file} cannot be read: {_reason(error)}.") from None


def _impersonation(user: KubeconfigEntry) -> list[tuple[str, str]]:
    stated = {"Impersonate-User": [user.get("as")], "Impersonate-Group": user.get("as-groups") or []}
    return [(name, str(value)) for name, values in stated.items() for value in values if value]


def _executed(access: Access, plugin: KubeconfigEntry) -> KubeconfigEntry:
    """Returns the status that an exec plugin prints; its prompts go to the terminal."""
    version = str(plugin.get("apiVersion", "client.authentication.k8s.io/v1"))
    interactive = sys.stdin is not None and sys.stdin.isatty() and plugin.get("interactiveMode") != "Never"
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.get("provideClusterInfo"):
        authorities = base64.b64encode(access.authorities).decode() if access.authorities else None
        stated = {"server": access.server, "certificate-authority-data": authorities}
        spec["cluster"] = {name: value for name, value in stated.items() if value}
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    variables = {item["name"]: item["value"] for item in plugin.get("env") or []}
    command = _program(access, str(plugin.get("command", "")))
    try:
        ended = subprocess.run(  # noqa: S603 - what the user's own kubeconfig names, as kubectl runs it
            [command, *map(str, plugin.get("args") or [])],
            env={**os.environ, **variables, "KUBERNETES_EXEC_INFO": json.dumps(asked)},
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=EXEC_SECONDS,
            check=True,
        )
        return dict(json.loads(ended.stdout)["status"])
    except FileNotFoundError:
        hint = " ".join(str(plugin.get("installHint") or "Install it, or choose another context.").split())
        raise FailedError(
            f"The kubeconfig logs in by the program {command!r}, which is not installed. {hint}"
        ) from None
    except subprocess.CalledProcessError as error:
        raise FailedError(
            f"The program {command!r}, by which the kubeconfig logs in, failed with exit code {error.returncode}."
        ) from None
    except (OSError, subprocess.TimeoutExpired, ValueError, LookupError, TypeError):
        raise FailedError(
            f"The program {command!r}, by which the kubeconfig logs in, did not answer with credentials."
        ) from None


def _program(access: Access, command: str) -> str:
    """A path is relative to the kubeconfig; a bare name is looked up in PATH."""
    return str(access.directory / command) if os.sep in command else command


# Values in the file or beside it


def _bytes(entry: KubeconfigEntry, name: str, directory: Path) -> bytes | None:
    try:
        if entry.get(f"{name}-data"):
            return base64.b64decode(entry[f"{name}-data"])
        return (directory / str(entry[name])).read_bytes() if entry.get(name) else None
    except OSError as error:
        raise FailedError(f"{name} of the kubeconfig cannot be read: {_reason(error)}.") from None
    except ValueError:
        raise FailedError(f"{name}-data of the kubeconfig is not base64.") from None


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)).rstrip(".")
