"""Parses Prometheus queries, so that tests can compare them with the existing metrics. It evaluates nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Series:
    """One time series of a scrape."""

    name: str
    labels: dict[str, str]


@dataclass(frozen=True)
class Selector:
    """The metric that a query selects, with its conditions on labels."""

    name: str
    matchers: tuple[promql.Matcher, ...]

    @property
    def labels(self) -> set[str]:
        return {matcher.name for matcher in self.matchers}

    def matches(self, series: Series) -> bool:
        return series.name == self.name and all(_fits(matcher, series) for matcher in self.matchers)


def scrape(text: str) -> list[Series]:
    """Returns all series of a /metrics page."""
    return [
        Series(sample.name, dict(sample.labels))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def selectors(query: str) -> list[Selector]:
    """Returns all selectors of a query."""
    return [
        Selector(node.name or "", tuple(node.matchers.matchers))
        for node in _nodes(query)
        if isinstance(node, promql.VectorSelector)
    ]


def grouped_labels(query: str) -> set[str]:
    """Returns the labels that a query groups by or joins on."""
    found: set[str] = set()
    for node in _nodes(query):
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            found.update(node.modifier.labels)
        if isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
            found.update(node.modifier.matching.labels)
    return found


def result_labels(query: str) -> set[str]:
    """Returns the labels of a query's result, as far as the query names them."""
    return _result_labels(promql.parse(query))


def unmet(queries: Iterable[str], scraped: list[Series]) -> list[str]:
    """Returns the selectors of the queries that match no series."""
    return [
        f"{selector.name} {selector.matchers} in {query}"
        for query in queries
        for selector in selectors(query)
        if not any(selector.matches(series) for series in scraped)
    ]


def _fits(matcher: promql.Matcher, series: Series) -> bool:
    found = series.labels.get(matcher.name, "")
    if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual):
        fits = found == matcher.value
    else:
        fits = re.fullmatch(matcher.value, found) is not None
    return fits == (matcher.op in (promql.MatchOp.Equal, promql.MatchOp.Re))


def _result_labels(node: promql.Expr) -> set[str]:
    if isinstance(node, promql.AggregateExpr):
        if node.modifier is not None and node.modifier.type == promql.AggModifierType.By:
            return set(node.modifier.labels)
        return _result_labels(node.expr) if str(node.op) in ("topk", "bottomk") else set()
    if isinstance(node, promql.BinaryExpr):
        return _result_labels(node.lhs) or _result_labels(node.rhs)
    if isinstance(node, promql.Call):
        inner = {label for argument in node.args for label in _result_labels(argument)}
        return inner - {"le"} if node.func.name == "histogram_quantile" else inner
    return set()


def _nodes(query: str) -> list[promql.Expr]:
    found: list[promql.Expr] = []
    promql.walk(promql.parse(query), found.append)
    return found
