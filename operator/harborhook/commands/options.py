"""The options that select a Harbor and an account. Imports only modules that load fast."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from getpass import getpass
from pathlib import Path
from typing import Any

import click

from harborhook.headers import wrong_with

USERNAME, PASSWORD = "HARBORHOOK_USERNAME", "HARBORHOOK_PASSWORD"
_URL = re.compile(r"https?://[^\s/?#@\\]+/?")


@dataclass(frozen=True)
class ByUrl:
    """A Harbor by its address; no repr shows the password."""

    url: str
    username: str
    password: str = field(repr=False)
    ca_file: Path | None = None
    insecure_skip_verify: bool = False
    server_name: str | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    headers: tuple[tuple[str, Path], ...] = ()
    """Header names, and the files with their values."""


@dataclass(frozen=True)
class ByConnection:
    """A Harbor by the name of a connection in the cluster; without a namespace it is a ClusterHarborConnection."""

    name: str
    namespace: str = ""
    kubeconfig: str | None = None

    @property
    def kind(self) -> str:
        return "HarborConnection" if self.namespace else "ClusterHarborConnection"

    def within(self, namespace: str) -> ByConnection:
        """Returns the connection in a namespace that another option names."""
        if self.namespace not in ("", namespace):
            raise click.UsageError(f"--namespace {namespace}: the connection is in {self.namespace}.")
        return replace(self, namespace=namespace)


Where = ByUrl | ByConnection

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OPTIONS: tuple[_Decorator, ...] = (
    click.option(
        "--connection",
        metavar="NAME",
        help="A ClusterHarborConnection of the cluster, or NAMESPACE/NAME for a HarborConnection.",
    ),
    click.option("--kubeconfig", type=click.Path(dir_okay=False), help="For --connection. Default: $KUBECONFIG."),
    click.option(
        "--url",
        metavar="URL",
        help=(
            f"A Harbor by its address. Name and password come from {USERNAME} and {PASSWORD}, or the password from "
            "standard input; there is no flag for it, because others can see the arguments of a process."
        ),
    ),
    click.option("--username", metavar="NAME", help=f"For --url: user or robot, instead of {USERNAME}."),
    click.option("--password-stdin", is_flag=True, help="For --url: read the password from standard input."),
    click.option(
        "--ca-file",
        type=_FILE,
        help="For --url: certificate authorities to trust besides the system's, in PEM format.",
    ),
    click.option("--server-name", metavar="NAME", help="For --url: the host name that its certificate has instead."),
    click.option(
        "--client-certificate",
        type=_FILE,
        help="For --url: the certificate to show a gateway that requires one, in PEM format; with --client-key.",
    ),
    click.option("--client-key", type=_FILE, help="For --url: the private key of that certificate, in PEM format."),
    click.option(
        "--header",
        "headers",
        metavar="NAME=@FILE",
        multiple=True,
        help="For --url: a header for a gateway, whose value is in a file; can be repeated.",
    ),
    click.option("--insecure-skip-verify", is_flag=True, help="For --url: accept any certificate."),
    click.option("--allow-insecure-http", is_flag=True, help="For --url: accept http://, which encrypts nothing."),
)
_FOR_URL = (
    "username",
    "password_stdin",
    "ca_file",
    "server_name",
    "client_certificate",
    "client_key",
    "headers",
    "insecure_skip_verify",
    "allow_insecure_http",
)
_NAMES = ("connection", "kubeconfig", "url", *_FOR_URL)


def which_harbor(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options, and passes them to the command as one argument, `where`."""

    @functools.wraps(command)
    def with_where(**given: Any) -> Any:
        own = {name: value for name, value in given.items() if name not in _NAMES}
        return command(where=_where({name: given[name] for name in _NAMES}), **own)

    wrapped: Callable[..., Any] = with_where
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _where(given: Mapping[str, Any]) -> Where:
    """Raises click.UsageError for options that exclude each other."""
    if bool(given["connection"]) == bool(given["url"]):
        raise click.UsageError("Say which Harbor is meant: either --connection or --url.")
    if given["connection"]:
        astray = [f"--{name.replace('_', '-').removesuffix('s')}" for name in _FOR_URL if given[name]]
        if astray:
            raise click.UsageError(f"{', '.join(astray)}: only with --url; a connection has all that.")
        return _by_connection(given["connection"], given["kubeconfig"])
    if given["kubeconfig"]:
        raise click.UsageError("--kubeconfig: only with --connection.")
    _check_url(given["url"], allow_http=given["allow_insecure_http"])
    if bool(given["client_certificate"]) != bool(given["client_key"]):
        raise click.UsageError("--client-certificate and --client-key go together.")
    headers = tuple([_header(stated) for stated in given["headers"]])
    username, password = _credentials(given["username"], from_stdin=given["password_stdin"])
    return ByUrl(
        given["url"].rstrip("/"),
        username,
        password,
        ca_file=given["ca_file"],
        insecure_skip_verify=given["insecure_skip_verify"],
        server_name=given["server_name"],
        client_certificate=given["client_certificate"],
        client_key=given["client_key"],
        headers=headers,
    )


def _header(stated: str) -> tuple[str, Path]:
    """Returns the name and the file. An invalid value is not quoted where it may be a secret."""
    name, separator, file = stated.partition("=@")
    if not separator:
        raise click.UsageError(
            "--header is NAME=@FILE: its value comes from a file, because others can see the arguments of a process."
        )
    if problem := wrong_with(name):
        raise click.UsageError(f"--header {name}: {problem}.")
    if not Path(file).is_file():
        raise click.UsageError(f"--header {name}: there is no file {file}.")
    return name, Path(file)


def _by_connection(text: str, kubeconfig: str | None) -> ByConnection:
    namespace, _, name = text.rpartition("/")
    if not name or "/" in namespace or text.startswith("/"):
        raise click.UsageError("--connection is NAME or NAMESPACE/NAME.")
    return ByConnection(name, namespace, kubeconfig)


def _check_url(url: str, *, allow_http: bool) -> None:
    """Validates like the schema of a connection. An invalid value is not quoted: it may contain a password."""
    if not _URL.fullmatch(url):
        raise click.UsageError("--url is Harbor's address without a path or a login, as https://harbor.example.com.")
    if url.startswith("http://") and not allow_http:
        raise click.UsageError(
            "An http:// address sends credentials unencrypted: use https://, or say --allow-insecure-http."
        )


def _credentials(username: str | None, *, from_stdin: bool) -> tuple[str, str]:
    name = _text(username or os.environ.get(USERNAME, ""), "The name")
    password = _from_stdin() if from_stdin else _text(os.environ.get(PASSWORD, ""), "The password")
    if not name:
        raise click.UsageError(f"--url needs a user or robot: set {USERNAME}, or say --username.")
    if not password.strip("\r\n"):
        raise click.UsageError(f"--url needs a password: set {PASSWORD}, or say --password-stdin.")
    return name, password.strip("\r\n")


def _from_stdin() -> str:
    """Prompts on a terminal, without echo."""
    if sys.stdin is None:
        raise click.UsageError("--password-stdin: there is no standard input.")
    if sys.stdin.isatty():
        return getpass("Password: ")
    return _decoded(sys.stdin.buffer.read(), "The password")


def _text(stated: str, what: str) -> str:
    """Recovers the bytes of an argument or variable, which Python has decoded by the locale: Harbor expects UTF-8."""
    return _decoded(os.fsencode(stated), what)


def _decoded(stated: bytes, what: str) -> str:
    try:
        return stated.decode()
    except UnicodeDecodeError:  # its text shows some of the value
        raise click.UsageError(f"{what} is not UTF-8 text.") from None
