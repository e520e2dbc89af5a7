"""Tables for users: coloured and wrapped on a terminal, plain columns elsewhere. No cell can send control sequences.

The last column of a table is a sentence. It is shown in full: wrapped beside the other columns if there is room, below
its row in a narrow terminal, and on one line if the output is not a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harborhook.foreign_text import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

GAP = 2
NARROWEST_SENTENCE = 40
"""Minimum columns for a sentence; in a narrower terminal it goes below its row."""
INDENT = 2


@dataclass(frozen=True)
class Cell:
    text: str
    style: str = ""


@dataclass
class Table:
    """`title`: a line above the table, optional; `empty`: a line shown instead of a table without rows."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    title: str = ""
    empty: str = ""

    def add(self, *cells: Cell | str) -> None:
        self.rows.append(tuple(_safe(cell) for cell in cells))


@dataclass(frozen=True)
class Line:
    """A line of text between tables; `indent` columns from the left."""

    text: str
    style: str = ""
    indent: int = 0


Block = Table | Line


def _safe(cell: Cell | str) -> Cell:
    stated = Cell(cell) if isinstance(cell, str) else cell
    return Cell(printable(stated.text), stated.style)


# Plain


def plain(blocks: Sequence[Block]) -> str:
    return "".join(f"{line}\n" for block in blocks for line in _plain_lines(block))


def _plain_lines(block: Block) -> Iterator[str]:
    if isinstance(block, Line):
        yield (" " * block.indent + printable(block.text)).rstrip()
        return
    if block.title:
        yield block.title
    if not block.rows:
        yield from [block.empty] if block.empty else []
        return
    widths = _widths(block)
    for cells in (block.columns, *(tuple(cell.text for cell in row) for row in block.rows)):
        padded = [text.ljust(width) for text, width in zip(cells, widths, strict=True)]
        yield (" " * GAP).join(padded).rstrip()


def _widths(table: Table) -> list[int]:
    return [max(len(name), *(len(row[index].text) for row in table.rows)) for index, name in enumerate(table.columns)]


# On a terminal


def rendered(blocks: Sequence[Block], console: Console) -> list[RenderableType]:
    """Returns the renderables for rich on that console."""
    return [piece for block in blocks for piece in _pieces(block, console)]


def _pieces(block: Block, console: Console) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    if isinstance(block, Line):
        yield Padding(Text(printable(block.text), block.style), (0, 0, 0, block.indent), expand=False)
        return
    if block.title:
        yield Text(block.title, "bold")
    if not block.rows:
        yield from [Text(block.empty, "dim")] if block.empty else []
        return
    fixed = sum(width + GAP for width in _widths(block)[:-1])
    if console.width - fixed >= min(NARROWEST_SENTENCE, _widths(block)[-1]):
        yield _wide(block)
    else:
        yield from _narrow(block)


def _wide(block: Table) -> RenderableType:
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for name in block.columns[:-1]:
        table.add_column(name, no_wrap=True, overflow="fold")
    table.add_column(block.columns[-1], overflow="fold")
    for row in block.rows:
        table.add_row(*(Text(cell.text, cell.style) for cell in row))
    return table


def _narrow(block: Table) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    widths = _widths(block)[:-1]
    gap = " " * GAP
    yield Text(gap.join(name.ljust(width) for name, width in zip(block.columns, widths, strict=False)).rstrip(), "dim")
    for row in block.rows:
        line = Text()
        for cell, width in zip(row, widths, strict=False):
            line.append(cell.text, cell.style).append(" " * (width - len(cell.text)) + gap)
        line.rstrip()
        yield line
        if row[-1].text:
            yield Padding(Text(row[-1].text, row[-1].style), (0, 0, 0, INDENT), expand=False)


# Times


def parsed_time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def age(text: str, now: datetime | None = None) -> str:
    """Returns an age in the format of kubectl: `4s`, `12m`, `3h`, `9d`. Empty for an empty time."""
    when = parsed_time(text)
    if when is None:
        return ""
    seconds = max(0, int(((now or datetime.now(UTC)) - when).total_seconds()))
    for limit, unit, length in ((120, "s", 1), (7200, "m", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds // length}{unit}"
    return f"{seconds // 86400}d"
