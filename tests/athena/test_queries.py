"""The saved queries: within days, and over a lake that the collector wrote."""

import json

import athena_sql
import company
import expected
import generate
import pytest

TABLES, VIEWS, QUERIES = generate.read_all()
WITHOUT_DAYS = {table.name for table in TABLES if not table.partitions}
BY_ID = {query.id: query for query in QUERIES}


def feeds(name: str) -> int:
    """How many tables a read of `name` reads."""
    view = next((view for view in VIEWS if view.name == name), None)
    if view is None:
        assert name in {table.name for table in TABLES}, f"{name} is no table or view"
        return 1
    tree = athena_sql.parse(view.select)
    return sum(feeds(table.name) for table in tree.find_all(athena_sql.exp.Table))


def test_there_are_at_least_twenty_of_which_each_has_expected_rows():
    assert len(QUERIES) >= 20
    assert set(BY_ID) == set(expected.ROWS) | {"events-by-day", "quarantined-records"}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.id)
def test_each_read_is_bounded_and_the_header_says_what_it_opens(query):
    scans = athena_sql.scans(athena_sql.parse(query.sql), WITHOUT_DAYS)
    assert scans
    names = {scan.table for scan in scans}
    if names <= WITHOUT_DAYS:
        assert query.opens == "all quarantined objects"
        return
    assert query.opens == f"{sum(feeds(scan.table) * scan.days for scan in scans)} feed-days"
    assert {scan.days for scan in scans} == {int(query.window.split(" days")[0])}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM activity",
        "SELECT 1 FROM activity WHERE event_date >= '2026-01-01'",
        "SELECT 1 FROM activity WHERE event_date <= '2026-01-01'",
        "SELECT 1 FROM activity WHERE event_date BETWEEN '2026-01-01' AND '2026-01-02' OR action = 'x'",
        "SELECT 1 FROM activity WHERE NOT event_date BETWEEN '2026-01-01' AND '2026-01-02'",
        "SELECT 1 FROM activity WHERE substr(event_date, 1, 7) = '2026-01'",
        "SELECT 1 FROM activity WHERE event_date = CAST(date(event_time) AS varchar)",
        "SELECT 1 FROM activity WHERE event_date = (SELECT max(event_date) FROM activity)",
        "SELECT 1 FROM activity a JOIN activity b ON a.session_uuid = b.session_uuid WHERE a.event_date = '2026-01-01'",
        "SELECT 1 FROM activity a JOIN activity b ON true WHERE event_date = '2026-01-01'",
        "WITH x AS (SELECT * FROM activity) SELECT 1 FROM x WHERE event_date = '2026-01-01'",
        "SELECT 1 FROM signin_attempts WHERE event_date = '2026-01-01' UNION ALL SELECT 1 FROM audit_events",
        "SELECT 1 FROM item_usages WHERE event_date = '2026-01-01' AND EXISTS (SELECT 1 FROM audit_events)",
        # What stands in a comment or a text is no bound.
        "SELECT 1 FROM activity -- WHERE event_date = '2026-01-01'",
        "SELECT 1 FROM activity WHERE action = 'event_date = 2026-01-01'",
    ],
)
def test_a_read_without_bounds_is_refused(sql):
    with pytest.raises(athena_sql.Unbounded):
        athena_sql.scans(athena_sql.parse(sql), WITHOUT_DAYS)


def test_a_query_that_is_read_twice_opens_twice():
    bound = "event_date = date_format(current_date, '%Y-%m-%d')"
    sql = f"WITH x AS (SELECT * FROM activity WHERE {bound}) SELECT 1 FROM x a JOIN x b ON a.account = b.account"
    scans = athena_sql.scans(athena_sql.parse(sql), WITHOUT_DAYS)
    assert [(scan.table, scan.days) for scan in scans] == [("activity", 1)] * 2


@pytest.mark.parametrize("id_", expected.ROWS)
def test_a_query_finds_what_was_planted_for_it_and_nothing_else(id_, stack, lake, today):
    deployed = stack.queries()[BY_ID[id_].name]
    assert expected.normal(lake.run(deployed), today) == expected.ROWS[id_]


def test_events_by_day_counts_what_was_planted(lake, today):
    rows = lake.run(BY_ID["events-by-day"].sql)
    assert [row[:4] for row in rows] == expected.events_by_day(company.history(today), 7)
    times = {row[:3]: row[4:] for row in expected.normal(rows, today)}
    day = str(today.fromordinal(today.toordinal() - 3))
    assert times[day, "signin_attempts", expected.ACCOUNT] == ("D-3 09:10:00", "D-3 17:00:00")


def test_quarantined_records_are_found_with_their_reasons(lake):
    rows = lake.run(BY_ID["quarantined-records"].sql)
    found = sorted((feed, reason, json.loads(line)["record"]) for feed, reason, line, _ in rows)
    assert found == [(feed, reason, json.loads(item)) for feed, reason, item in expected.quarantined_records()]
    assert all(uri in lake.objects for *_, uri in rows)
