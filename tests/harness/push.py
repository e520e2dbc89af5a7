"""Pushes, pulls and deletes tiny OCI artifacts in the stand-in or a real Harbor, in the way of a container client.

`python -m harness.push URL USER PASSWORD REPOSITORY [TAG]` pushes one.

The image has a config and one layer. Every call logs in by the registry's token flow.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import re
import sys
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import quote, urljoin

import httpx

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_TIMEOUT = 60.0


class RegistryError(Exception):
    """The registry refused; ``status`` and the answer's text give the reason."""

    def __init__(self, response: httpx.Response) -> None:
        request = response.request
        super().__init__(f"{request.method} {request.url}: {response.status_code} {response.text}")
        self.status = response.status_code
        self.text = response.text


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _checked(response: httpx.Response, *expected: int) -> httpx.Response:
    if response.status_code not in expected:
        raise RegistryError(response)
    return response


def _challenge(header: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', header))


def _token(client: httpx.Client, base: str, login: tuple[str, str] | None, repository: str, actions: str) -> str:
    """Asks /v2/ for the token service and gets a token for the repository."""
    answer = _checked(client.get(f"{base}/v2/"), 401, 200)
    challenge = _challenge(answer.headers.get("www-authenticate", ""))
    if "realm" not in challenge:
        return ""
    parameters = {"service": challenge.get("service", ""), "scope": f"repository:{repository}:{actions}"}
    where = base + httpx.URL(challenge["realm"]).path  # the registry may know itself by another name
    response = _checked(client.get(where, params=parameters, auth=login), 200)
    body = response.json()
    return str(body.get("token") or body.get("access_token") or "")


def _client(base: str, login: tuple[str, str] | None, repository: str, actions: str) -> httpx.Client:
    """Returns a client with a token for one repository."""
    with _plain() as plain:
        token = _token(plain, base, login, repository, actions)
    client = _plain()
    if token:
        client.headers["Authorization"] = f"Bearer {token}"
    return client


def _plain() -> httpx.Client:
    """Keeps no cookies: Harbor sets a `sid` below `/v2/` too, and refuses a write with one that lacks a CSRF token."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.Client(cookies=no_cookies, trust_env=False, verify=False, timeout=_TIMEOUT, follow_redirects=True)


def _push_blob(client: httpx.Client, base: str, repository: str, content: bytes) -> dict[str, int | str]:
    digest = digest_of(content)
    if client.head(f"{base}/v2/{repository}/blobs/{digest}").status_code != 200:
        started = _checked(client.post(f"{base}/v2/{repository}/blobs/uploads/"), 202)
        location = httpx.URL(urljoin(base + "/", started.headers["location"]))
        target = base + location.path + "?" + str(location.copy_merge_params({"digest": digest}).query, "ascii")
        headers = {"Content-Type": "application/octet-stream"}
        _checked(client.put(target, content=content, headers=headers), 201)
    return {"digest": digest, "size": len(content)}


def push_artifact(
    harbor_url: str,
    username: str,
    password: str,
    repository: str = "project/app",
    tag: str = "v1",
    content: bytes = b"hello",
) -> str:
    """Pushes ``content`` as an image's only layer under the tag and returns the manifest's digest.

    An empty tag pushes by digest. The same content has the same digest.
    """
    base = harbor_url.rstrip("/")
    with _client(base, (username, password), repository, "pull,push") as client:
        layer = _push_blob(client, base, repository, content)
        rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": _CONFIG_TYPE, **_push_blob(client, base, repository, config)},
            "layers": [{"mediaType": _LAYER_TYPE, **layer}],
        }
        body = json.dumps(manifest).encode()
        url = f"{base}/v2/{repository}/manifests/{tag or digest_of(body)}"
        _checked(client.put(url, content=body, headers={"Content-Type": MANIFEST_TYPE}), 201)
    return digest_of(body)


def pull_artifact(
    harbor_url: str,
    username: str,
    password: str,
    repository: str = "project/app",
    reference: str = "v1",
) -> bytes:
    """Pulls by tag or digest and returns the layer's content; an empty user name pulls anonymously."""
    base = harbor_url.rstrip("/")
    login = (username, password) if username else None
    with _client(base, login, repository, "pull") as client:
        url = f"{base}/v2/{repository}/manifests/{reference}"
        manifest = _checked(client.get(url, headers={"Accept": MANIFEST_TYPE}), 200).json()
        layer = manifest["layers"][0]["digest"]
        return _checked(client.get(f"{base}/v2/{repository}/blobs/{layer}"), 200).content


def _api_delete(harbor_url: str, username: str, password: str, repository: str, rest: str) -> None:
    """Deletes by Harbor's own API, where a slash in a repository's name is escaped twice."""
    project, _, name = repository.partition("/")
    escaped = quote(quote(name, safe=""), safe="")
    url = f"{harbor_url.rstrip('/')}/api/v2.0/projects/{project}/repositories/{escaped}{rest}"
    with _plain() as client:
        headers = {"X-Is-Resource-Name": "true"}
        _checked(client.delete(url, auth=(username, password), headers=headers), 200)


def delete_artifact(harbor_url: str, username: str, password: str, repository: str, reference: str) -> None:
    """Deletes the artifact of a tag or digest, with all its tags."""
    _api_delete(harbor_url, username, password, repository, f"/artifacts/{reference}")


def delete_tag(harbor_url: str, username: str, password: str, repository: str, tag: str) -> None:
    """Deletes one tag; the artifact stays."""
    _api_delete(harbor_url, username, password, repository, f"/artifacts/{tag}/tags/{tag}")


def delete_repository(harbor_url: str, username: str, password: str, repository: str) -> None:
    _api_delete(harbor_url, username, password, repository, "")


async def push_artifact_async(
    harbor_url: str,
    username: str,
    password: str,
    repository: str = "project/app",
    tag: str = "v1",
    content: bytes = b"hello",
) -> str:
    """``push_artifact`` for tests that run in an event loop."""
    call = functools.partial(push_artifact, harbor_url, username, password, repository, tag, content)
    return await asyncio.to_thread(call)


async def pull_artifact_async(
    harbor_url: str,
    username: str,
    password: str,
    repository: str = "project/app",
    reference: str = "v1",
) -> bytes:
    """``pull_artifact`` for tests that run in an event loop."""
    call = functools.partial(pull_artifact, harbor_url, username, password, repository, reference)
    return await asyncio.to_thread(call)


def main() -> None:
    url, username, password, repository, tag = [*sys.argv[1:], "v1"][:5]
    print(push_artifact(url, username, password, repository, tag))


if __name__ == "__main__":
    main()
