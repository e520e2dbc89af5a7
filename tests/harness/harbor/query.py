"""Paging, `q` and `sort` of Harbor's lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from .errors import HarborError, bad_request, internal, invalid

_NO_PAIR = 'the query string must contain "=" and the key/value cannot be empty'
_DEFAULT_PAGE_SIZE = 10
_MAX_PAGE_SIZE = 100

Row = Mapping[str, Any]
Predicate = Callable[[Any], bool]


@dataclass(frozen=True)
class Page:
    """One page of a list: the rows and its headers."""

    rows: Sequence[Any]
    total: int
    link: str | None


class Query:
    """The query parameters of one request."""

    __slots__ = ("_pairs", "_path")

    def __init__(self, path: str, raw: str) -> None:
        self._path = path
        self._pairs = parse_qsl(raw, keep_blank_values=True) if raw else []

    def get(self, name: str) -> str | None:
        """The first value of a parameter."""
        for key, value in self._pairs:
            if key == name:
                return value
        return None

    def last(self, name: str) -> str | None:
        """Returns the last value of a parameter, for those that go-openapi reads that way."""
        found = None
        for key, value in self._pairs:
            if key == name:
                found = value
        return found

    def integer(self, name: str) -> int | None:
        """Returns an integer parameter; raises 422 if it is not one."""
        text = self.last(name)
        if text is None or text == "":
            return None
        found = int64(text)
        if found is None:
            raise invalid(f'{name} in query must be of type int64: "{text}"')
        return found

    def boolean(self, name: str) -> bool | None:
        """Returns a parameter that go-openapi reads as a boolean: invalid values are false."""
        text = self.last(name)
        return None if text is None or text == "" else go_bool(text)

    def filters(self) -> dict[str, Predicate]:
        """The predicates in `q`, by key."""
        return parse_q(self.get("q") or "")

    def check_page(self) -> tuple[int, int]:
        """Returns page and page_size; raises 422 beyond a hundred rows."""
        number = self.integer("page")
        size = self.integer("page_size")
        if size is not None and size > _MAX_PAGE_SIZE:
            raise invalid("page_size in query should be less than or equal to 100")
        return 1 if number is None else number, _DEFAULT_PAGE_SIZE if size is None else size

    def page(self, rows: Sequence[Any]) -> Page:
        """Returns the requested page. `page_size=0`, or less, returns every row."""
        number, size = self.check_page()
        total = len(rows)
        if size > 0:
            start = max(number - 1, 0) * size
            rows = rows[start : start + size]
        return Page(rows, total, self._link(total, number, size))

    def _link(self, total: int, number: int, size: int) -> str | None:
        links = []
        if size == 0:
            return None
        if number > 1 and (number - 1) * size <= total:
            links.append(f'<{self._url(number - 1, size)}>; rel="prev"')
        if size * number < total:
            links.append(f'<{self._url(number + 1, size)}>; rel="next"')
        return " , ".join(links) or None

    def _url(self, number: int, size: int) -> str:
        pairs = [(key, value) for key, value in self._pairs if key not in ("page", "page_size")]
        pairs += [("page", str(number)), ("page_size", str(size))]
        pairs.sort(key=lambda pair: pair[0])
        return self._path + "?" + "&".join(f"{key}={value}" for key, value in pairs)


def int64(text: str) -> int | None:
    """strconv.ParseInt: digits with an optional sign, within range; None for any other text."""
    match = re.fullmatch(r"([+-]?)0*([0-9]{1,19})", text)
    if match is None:
        return None
    number = int(match[1] + match[2])
    return number if -(2**63) <= number < 2**63 else None


def go_bool(text: str) -> bool:
    """swag.ConvertBool: an affirmative word is true, any other text false."""
    return text.lower() in ("true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled")


def parse_q(text: str) -> dict[str, Predicate]:
    """`k=v`, `k=~v`, `k=[a~b]`, `k={a b}`, separated by commas."""
    found: dict[str, Predicate] = {}
    if not text:
        return found
    for part in unquote_plus(text).split(","):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise bad_request(_NO_PAIR)
        found[key] = _pattern(value)
    return found


def _pattern(value: str) -> Predicate:
    refused = bad_request(f"invalid query string value: {value}")
    if value[0] == "~":
        if len(value) < 2:
            raise refused
        needle = value[1:]
        return lambda row: needle in str(row)
    if value[0] == "[":
        return _range(value, refused)
    if value[0] in "{(":
        if value[-1] != ("}" if value[0] == "{" else ")"):
            raise refused
        words = [word.strip("\"'") for word in value[1:-1].split(" ") if word]
        return lambda row: any(_equal(row, word) for word in words)
    exact = value[1:] if value[0] == "\\" else value
    return lambda row: _equal(row, exact)


def _equal(row: Any, value: str) -> bool:
    if isinstance(row, bool):
        return row == go_bool(value)
    if isinstance(row, int):
        return row == int64(value)
    if isinstance(row, str) and _moment(row) is not None:
        if _moment(value) is None:
            raise internal()
        return _moment(row) == _moment(value)
    return str(row) == value


def _range(value: str, refused: HarborError) -> Predicate:
    if value[-1] != "]" or value.count("~") != 1:
        raise refused
    low, high = (end.strip() for end in value[1:-1].split("~"))
    if not low and not high:
        raise refused
    return lambda row: (not low or _order(row) >= _bound(low, row)) and (not high or _order(row) <= _bound(high, row))


def _order(row: Any) -> Any:
    return _moment(row) or row if isinstance(row, str) else row


def _bound(text: str, row: Any) -> Any:
    if isinstance(row, int):
        number = int64(text)
        if number is None:
            raise internal()
        return number
    return _moment(text) or text


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def _moment(text: str) -> datetime | None:
    if not _MOMENT.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def select(rows: Iterable[Row], filters: Mapping[str, Predicate], keys: Iterable[str]) -> list[Row]:
    """Returns the matching rows; a filter on an unknown key is ignored silently."""
    known = [(key, filters[key]) for key in keys if key in filters]
    if not known:
        return list(rows)
    return [row for row in rows if all(test(_field(row, key)) for key, test in known)]


def _field(row: Row, key: str) -> Any:
    value: Any = row
    for part in key.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    return value


def arrange(rows: list[Row], sort: str | None, keys: Iterable[str], default: Callable[[Row], Any]) -> list[Row]:
    """Sorts by the known keys of `sort`, or by the default if it names none."""
    allowed = set(keys)
    wanted = [key for key in (sort or "").split(",") if key.removeprefix("-") in allowed]
    rows = sorted(rows, key=default)
    if wanted:  # rows of the same millisecond keep their order
        rows.sort(key=_number, reverse=wanted[-1].startswith("-"))
    for key in reversed(wanted):
        name = key.removeprefix("-")
        rows.sort(key=lambda row: _sortable(_field(row, name)), reverse=key.startswith("-"))
    return rows


def _number(row: Row) -> int:
    return int(row.get("id") or row.get("project_id") or row.get("user_id") or 0)


def _sortable(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value
