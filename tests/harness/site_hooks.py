"""Adapts the pages of docs/, which are written for GitHub, to mkdocs: see `hooks` in mkdocs.yml.

* Links that leave docs/ lead to the repository; one to a missing file is a warning, and `make docs` fails.
* Headings have GitHub's anchors.
* Blocks in lists are indented by four columns, which Python-Markdown needs, instead of by the width of the marker.
* A page with a diagram gets Mermaid from the site itself.
"""

from __future__ import annotations

import logging
import posixpath
import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

REPOSITORY = Path(__file__).parents[2]
MERMAID = REPOSITORY / "build/mermaid/package/dist/mermaid.min.js"
MERMAID_URI = "assets/mermaid.min.js"
INDENTATION = 4

logger = logging.getLogger("mkdocs.hooks.site")
ADDRESS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def on_config(config: Any) -> Any:
    config.mdx_configs.setdefault("toc", {})["slugify"] = anchor
    config.repo_url = ADDRESS
    return config


def anchor(heading: str, separator: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", separator)


def on_files(files: Any, config: Any) -> Any:
    files.append(File.generated(config, MERMAID_URI, abs_src_path=str(MERMAID)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return indented(linked(markdown, posixpath.join("docs", page.file.src_uri)))


def linked(markdown: str, page: str) -> str:
    """Replaces links that leave docs/ by addresses in the repository."""

    def replaced(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), match[1]))
        if path.startswith("docs/"):
            return match[0]
        if not (REPOSITORY / path).exists():
            logger.warning("%s: the link to %s leads nowhere", page, match[1])
        kind = "tree" if (REPOSITORY / path).is_dir() else "blob"
        return f"]({ADDRESS}/{kind}/main/{path}{match[2] or ''})"

    return re.sub(r"\]\((\.\./[^)#]*)(#[^)]*)?\)", replaced, markdown)


def indented(markdown: str) -> str:
    lines, width = [], 0
    fenced = False
    for line in markdown.splitlines():
        marker = None if fenced else re.match(r"(\d+\. |[*-] )", line)
        if marker:
            width = len(marker[0])
        elif line and not line.startswith(" " * max(width, 1)):
            width = 0
        if not width and line.startswith("```"):
            fenced = not fenced
        inside = width and line and not marker
        lines.append(" " * (INDENTATION - width) + line if inside else line)
    return "\n".join(lines) + "\n"


def on_post_page(output: str, page: Any, **_: Any) -> str:
    if 'class="mermaid"' not in output:
        return output
    script = f'<script src="{get_relative_url(MERMAID_URI, page.url)}"></script>'
    return output.replace("</head>", f"{script}</head>", 1)
