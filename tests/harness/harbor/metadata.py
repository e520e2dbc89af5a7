"""Project metadata: the keys, their validation and their form in answers."""

from __future__ import annotations

import re
from typing import Any

from .errors import HarborError, bad_request

PROXY_ONLY = ("proxy_speed_kb", "max_upstream_conn", "proxy_cache_filter_pattern", "proxy_cache_filter_kind")
_BOOLEANS = ("public", "enable_content_trust", "enable_content_trust_cosign", "prevent_vul", "auto_scan")
_SEVERITIES = {"none": "none", "negligible": "none", "low": "low", "medium": "medium", "high": "high"}
_SEVERITIES["critical"] = "critical"
_INT32_MAX = 2**31 - 1


def shown(metadata: dict[str, str]) -> dict[str, str]:
    """Returns the metadata that a project shows: the severity normalised, other values as stored."""
    found = dict(metadata)
    if "severity" in found:
        found["severity"] = _SEVERITIES.get(found["severity"].lower(), "unknown")
    return dict(sorted(found.items()))


def applicable(metadata: dict[str, str], proxy: bool) -> dict[str, str]:
    """Drops the keys that Harbor drops silently: proxy keys on ordinary projects, content trust on proxies, `public:
    ""`."""
    dropped = ("enable_content_trust",) if proxy else PROXY_ONLY
    return {
        key: value for key, value in metadata.items() if key not in dropped and not (key == "public" and value == "")
    }


def check_creation(metadata: dict[str, str], proxy: bool) -> None:
    """Validates the values that POST checks; PUT does not."""
    public = metadata.get("public", "")
    if public not in ("", "true", "false"):
        raise bad_request(f"metadata.public should only be 'true' or 'false', but got: '{public}'")
    if metadata.get("retention_id"):
        raise bad_request(
            "bad request: the retention_id in the request's payload when creating a project should be omitted, "
            "alternatively passing an empty string"
        )
    if proxy:
        _check_number(metadata, "proxy_speed_kb", "should by an int32, but got: '{}', err: {}")
        _check_number(metadata, "max_upstream_conn", "should be an int, but got '{}', err: {}")
        check_filter(metadata)


def check_filter(metadata: dict[str, str]) -> None:
    """Requires a proxy cache filter to have both a pattern and its kind."""
    pattern = metadata.get("proxy_cache_filter_pattern", "")
    kind = metadata.get("proxy_cache_filter_kind", "")
    if not pattern and not kind:
        return
    if kind not in ("doublestar", "regex"):
        raise bad_request(f'metadata.proxy_cache_filter_kind should be "doublestar" or "regex", but got: "{kind}"')
    if kind == "regex":
        _check_regex(pattern)


def check_retention(metadata: dict[str, str], stored: dict[str, str]) -> None:
    """Allows a PUT to name only the present retention policy."""
    if "retention_id" in metadata and metadata["retention_id"] != stored.get("retention_id"):
        raise bad_request(
            "the retention_id in the request's payload when updating a project should be omitted, "
            "alternatively passing the one that has already been associated to this project"
        )


def check_single(values: dict[str, Any]) -> tuple[str, str]:
    """Returns the one pair that `/metadatas` accepts; this endpoint validates values."""
    if len(values) != 1:
        raise bad_request("only allow one key/value pair")
    ((key, value),) = values.items()
    if key in _BOOLEANS:
        return key, _boolean(value)
    if key == "severity":
        if value.lower() not in _SEVERITIES:
            raise _refused(value)
        return key, _SEVERITIES[value.lower()]
    raise bad_request(f"invalid key: {key}")


def _boolean(value: str) -> str:
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        return "true"
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return "false"
    raise _refused(value)


def _refused(value: str) -> HarborError:
    return bad_request(f"invalid value: {value}")


def _check_number(metadata: dict[str, str], key: str, words: str) -> None:
    value = metadata.get(key)
    if value is None:
        return
    if not re.fullmatch(r"[+-]?[0-9]+", value):
        reason = f'strconv.ParseInt: parsing "{value}": invalid syntax'
    elif abs(int(value)) > _INT32_MAX:
        reason = f'strconv.ParseInt: parsing "{value}": value out of range'
    else:
        return
    raise bad_request(f"metadata.{key} " + words.format(value, reason))


def _check_regex(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise bad_request(f'metadata.proxy_cache_filter_pattern is invalid for kind "regex": {error}') from None
