"""Athena SQL: what a statement reads, within which days, and the same in DuckDB."""

import re
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

LOWER, UPPER = (exp.GT, exp.GTE), (exp.LT, exp.LTE)


class Unbounded(Exception):
    """A table of the lake is read without a first and a last day."""


@dataclass(frozen=True)
class Scan:
    """A read of a table or view, from its first to its last `event_date`; `None` for what has no days."""

    table: str
    first: exp.Expression | None = None
    last: exp.Expression | None = None

    @property
    def days(self) -> int:
        """How many days it opens."""
        return days_ago(self.first) - days_ago(self.last) + 1


def parse(sql: str) -> exp.Expression:
    statements = sqlglot.parse(sql, dialect="athena")
    # What sqlglot does not understand it keeps as text, without an error.
    assert len(statements) == 1 and not list(statements[0].find_all(exp.Command)), sql
    return statements[0]


def scans(tree: exp.Expression, without_days: set[str]) -> list[Scan]:
    """Every read of a table or view. One that `WITH` names and that is read twice counts twice.

    Raises `Unbounded` for a read whose own SELECT does not say `event_date`'s
    first and last value, unless the table is one of `without_days`.
    """
    named = {cte.alias: cte.this for cte in tree.find_all(exp.CTE)}

    def within(node: exp.Expression) -> list[Scan]:
        found = []
        for table in node.find_all(exp.Table):
            if table.find_ancestor(exp.CTE) is not node.find_ancestor(exp.CTE):
                continue
            if table.name in named:
                found += within(named[table.name])
            elif table.name in without_days:
                found.append(Scan(table.name))
            else:
                found.append(Scan(table.name, *bounds_of(table)))
        return found

    return within(tree)


def bounds_of(table: exp.Table) -> tuple[exp.Expression, exp.Expression]:
    """The first and the last `event_date` by the conditions of the SELECT that reads `table`."""
    select = table.find_ancestor(exp.Select)
    conditions = []
    where = select.args.get("where")
    if where:
        conditions = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
    alone = not select.args.get("joins")
    first = last = None
    for condition in conditions:
        subject = condition.args.get("this")
        if not isinstance(subject, exp.Column) or subject.name != "event_date":
            continue
        if subject.table != table.alias_or_name and not (alone and not subject.table):
            continue
        if isinstance(condition, exp.Between):
            bounds = condition.args["low"], condition.args["high"]
        elif isinstance(condition, LOWER):
            bounds = condition.expression, None
        elif isinstance(condition, UPPER):
            bounds = None, condition.expression
        elif isinstance(condition, exp.EQ):
            bounds = condition.expression, condition.expression
        else:
            continue
        # A bound that depends on a row prunes nothing.
        if any(bound is not None and list(bound.find_all(exp.Column, exp.Subquery)) for bound in bounds):
            continue
        first = bounds[0] if bounds[0] is not None else first
        last = bounds[1] if bounds[1] is not None else last
    if first is None or last is None:
        raise Unbounded(f"{table.name} is read without bounds of event_date in: {select.sql('athena')}")
    return first, last


def days_ago(bound: exp.Expression) -> int:
    """n of `date_format(current_date - INTERVAL 'n' DAY, '%Y-%m-%d')`, the form that saved queries use."""
    text = bound.sql("athena")
    form = r"DATE_FORMAT\((?:CAST\()?CURRENT_DATE(?: - INTERVAL '(\d+)' DAY)?(?: AS TIMESTAMP\))?, '%Y-%m-%d'\)"
    match = re.fullmatch(form, text)
    assert match, f"a bound of another form: {text}"
    return int(match[1] or 0)


# The one expression that DuckDB is given another for. DuckDB returns objects and
# arrays as text where Athena returns NULL.
MACRO = """
CREATE MACRO json_extract_scalar(json, path) AS
CASE WHEN json_type(json, path) IN ('OBJECT', 'ARRAY', 'NULL') THEN NULL ELSE json_extract_string(json, path) END
"""


def duckdb(sql: str) -> str:
    def substitute(node):
        if isinstance(node, exp.JSONExtractScalar):
            path = exp.Literal.string(node.expression.sql("athena").strip("'"))
            return exp.Anonymous(this="json_extract_scalar", expressions=[node.this, path])
        return node

    return parse(sql).transform(substitute).sql("duckdb")
