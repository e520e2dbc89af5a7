"""Parses a request body like Go's encoding/json and go-openapi, errors included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from .errors import HarborError, invalid

_INT64_MAX = 2**63 - 1
_INT64_MIN = -(2**63)


class Fraction(str):
    """A number with a point or an exponent, in its original spelling."""

    __slots__ = ()


@dataclass(frozen=True)
class Model:
    """A Go struct: its name and its fields' types.

    A type is `str`, `int`, `bool`, another model, a list holding the item's type, or a dict `{str: type}`.
    """

    name: str
    fields: Mapping[str, Any]


def decode(body: bytes, parameter: str, model: Model | dict[type, Any]) -> dict[str, Any]:
    """Returns the body as a dict with only known keys and no nulls; raises 422 with Go's words otherwise."""
    if not body:
        raise invalid(f"{parameter} in body is required")
    try:
        value = json.loads(body, parse_float=Fraction)
    except ValueError as error:
        raise _refused(parameter, _syntax(body, error)) from None
    if value is None:
        raise invalid(f"{parameter} in body is required")
    checked = _check(value, model, "", "", parameter)
    return cast(dict[str, Any], checked)


def _refused(parameter: str, reason: str) -> HarborError:
    return invalid(f'parsing {parameter} body from "" failed, because {reason}')


def _syntax(body: bytes, error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        rest = error.doc[error.pos :]
        if not rest.strip() or "Unterminated" in error.msg:
            return "unexpected EOF"
        return f"invalid character {_quoted(rest[0])} looking for beginning of value"
    return f"invalid character {_quoted(chr(body[0]))} looking for beginning of value"


def _quoted(character: str) -> str:
    return f"'{character}'" if character.isprintable() else f"'\\x{ord(character):02x}'"


def _check(value: Any, kind: Any, struct: str, path: str, parameter: str) -> Any:
    if value is None:
        return None
    if isinstance(kind, Model):
        return _check_struct(value, kind, struct, path, parameter)
    if isinstance(kind, list):
        return _check_list(value, kind, struct, path, parameter)
    if isinstance(kind, dict):
        return _check_map(value, kind, struct, path, parameter)
    return _check_scalar(value, kind, struct, path, parameter)


def _check_struct(value: Any, model: Model, struct: str, path: str, parameter: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _mismatch(value, f"models.{model.name}", struct, path, parameter)
    found: dict[str, Any] = {}
    for key, kind in model.fields.items():
        if value.get(key) is not None:
            below = f"{path}.{key}" if path else key
            found[key] = _check(value[key], kind, model.name, below, parameter)
    return found


def _check_list(value: Any, kind: list[Any], struct: str, path: str, parameter: str) -> list[Any]:
    item = kind[0]
    if not isinstance(value, list):
        name = f"[]*models.{item.name}" if isinstance(item, Model) else "[]string"
        raise _mismatch(value, name, struct, path, parameter)
    empty: Any = {} if isinstance(item, Model) else ""
    return [empty if entry is None else _check(entry, item, struct, path, parameter) for entry in value]


def _check_map(value: Any, kind: dict[type, Any], struct: str, path: str, parameter: str) -> dict[str, Any]:
    (item,) = kind.values()
    if not isinstance(value, dict):
        raise _mismatch(value, f"map[string]{_go(item)}", struct, path, parameter)
    zero: Any = "" if item is str else 0
    return {
        key: zero if entry is None else _check(entry, item, struct, path, parameter) for key, entry in value.items()
    }


def _check_scalar(value: Any, kind: type, struct: str, path: str, parameter: str) -> Any:
    fits = type(value) is kind
    if fits and kind is int and not _INT64_MIN <= value <= _INT64_MAX:
        fits = False
    if not fits:
        raise _mismatch(value, _go(kind), struct, path, parameter)
    return value


def _go(kind: type) -> str:
    return {str: "string", int: "int64", bool: "bool"}[kind]


def _mismatch(value: Any, wanted: str, struct: str, path: str, parameter: str) -> HarborError:
    where = f"Go struct field {struct}.{path}" if struct else "Go value"
    return _refused(parameter, f"json: cannot unmarshal {_describe(value, wanted)} into {where} of type {wanted}")


def _describe(value: Any, wanted: str) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Fraction | int):
        return f"number {value}" if wanted == "int64" else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
