"""Objects and partitions; lines that are not as the documentation says."""

import gzip
import json
import math
from datetime import date

import company
import pytest
from conftest import BUCKET
from lake import Lake, projected
from programs import collect
from template import Stack

FEEDS = ["signin_attempts", "item_usages", "audit_events"]


def tables_of(stack, feed):
    return {name: table for name, table in stack.tables().items() if name in (f"{feed}_lines", f"{feed}_typed")}


def test_every_object_lies_under_one_projected_partition_of_its_tables(stack, lake):
    unseen = set(lake.objects)
    for feed in FEEDS:
        (lines, typed) = (lake.partitions(table) for table in tables_of(stack, feed).values())
        assert lines == typed
        uris = [uri for uris in lines.values() for uri in uris]
        assert len(uris) == len(set(uris)) and set(uris) <= unseen
        unseen -= set(uris)
        for day, uris in lines.items():
            assert all(f"/{feed}/{day}/" in uri for uri in uris)
    quarantined = lake.partitions(stack.tables()["quarantine_lines"])[""]
    assert unseen == set(quarantined) and len(quarantined) == 3


def test_the_tables_reach_as_far_as_the_lake():
    today = date(2026, 11, 20)
    for retention, first in (0, "2016-11-22"), (365, "2025-11-20"):
        stack = Stack(RetentionDays=retention, BucketName="b", KeyPrefix="p/")
        for feed in FEEDS:
            for table in tables_of(stack, feed).values():
                days = projected(table, today)
                assert (min(days), max(days)) == (first, "2026-11-22")
                assert days["2026-11-20"] == f"s3://b/p/{feed}/2026-11-20/"


def test_tables_read_each_line_as_it_is(lake):
    """Text that a SerDe, or this reader, might take for syntax is kept."""
    for feed in FEEDS:
        stored = [
            line
            for uri, path in lake.objects.items()
            if uri.startswith(f"s3://{BUCKET}/onepassword/v1/{feed}/")
            for line in gzip.decompress(path.read_bytes()).decode().splitlines()
        ]
        rows = lake.db.execute(f"SELECT line FROM {feed}_lines").fetchall()
        assert stored and sorted(line for (line,) in rows) == sorted(stored)


@pytest.fixture(scope="module")
def odd(stack, today, tmp_path_factory):
    """The lake of the company with odd lines in between, and for each line what its view gives in place of nonsense."""
    history = company.history(today)
    time = history.time(3, "12:00:00")
    day = time[:10]
    lines = {
        "signin_attempts": [
            # A struct that is a text, and one that is a list; a text that is a number, or a struct.
            (
                {"uuid": "ODD1", "timestamp": time, "target_user": "nobody", "client": ["x"]},
                {"user_email": None, "app_name": None},
            ),
            (
                {"uuid": "ODD2", "timestamp": time, "category": 7, "type": {"name": "x"}, "country": [1]},
                {"category": "7", "type": None, "country": None},
            ),
            (
                {"uuid": "ODD3", "timestamp": time, "location": {"latitude": "north", "longitude": math.inf}},
                {"location_latitude": None},
            ),
            # Null structs and fields.
            (
                {
                    "uuid": "ODD4",
                    "timestamp": time,
                    "target_user": None,
                    "client": None,
                    "location": None,
                    "details": None,
                    "category": None,
                },
                {"category": None, "details_value": None, "user_name": None},
            ),
            # Nothing but what the collector needs, and not even that.
            ({"timestamp": time}, {"event_uuid": None, "event_timestamp": time}),
            # A value that no enum has, a field that no table has, and text that is syntax elsewhere.
            (
                {"uuid": "ODD5", "timestamp": time, "category": "retina_failed", "shoe_size": {"eu": 43}},
                {"category": "retina_failed"},
            ),
            (
                {"uuid": "ODD6", "timestamp": time, "type": 'a"b\\n\u0001,\t\u2028\u00e9 \U0001f511'},
                {"type": 'a"b\\n\u0001,\t\u2028\u00e9 \U0001f511'},
            ),
            # A time of another offset is of this day in UTC; a lower-case one is one, by RFC 3339.
            (
                {"uuid": "ODD7", "timestamp": f"{day}T09:00:00.123456789-03:00"},
                {"event_timestamp": f"{day}T09:00:00.123456789-03:00"},
            ),
        ],
        "item_usages": [
            (
                {"uuid": "ODD1", "timestamp": time, "user": 1, "used_version": "three"},
                {"user_uuid": None, "used_version": None},
            ),
            ({"uuid": "ODD2", "timestamp": time, "used_version": 9223372036854775808}, {"used_version": None}),
            ({"uuid": "ODD3", "timestamp": time, "action": "teleport", "location": None}, {"action": "teleport"}),
            ({"uuid": "ODD4", "timestamp": time}, {"action": None}),
        ],
        "audit_events": [
            (
                {"uuid": "ODD1", "timestamp": time, "actor_details": [], "session": "none", "aux_id": "x"},
                {"actor_email": None, "session_uuid": None, "aux_id": None},
            ),
            (
                {"uuid": "ODD2", "timestamp": time, "session": {"login_time": "yesterday"}, "object_details": None},
                {"session_login_time": None, "object_name": None},
            ),
            (
                {"uuid": "ODD3", "timestamp": time, "action": "abducted", "object_type": "ufo"},
                {"action": "abducted", "object_type": "ufo"},
            ),
            ({"uuid": "ODD4", "timestamp": time}, {"action": None}),
        ],
    }
    # A number that no double holds.
    records = [(feed, json.dumps(line).replace("Infinity", "1e400")) for feed, odd in lines.items() for line, _ in odd]
    # A key that stands twice.
    records += [
        (feed, f'{{"uuid":"ODD0","timestamp":"{time}","action":"a","action":"b","category":"a","category":"b"}}')
        for feed in FEEDS
    ]
    archive = collect(tmp_path_factory.mktemp("odd"), company.lines(history) + records)
    return Lake(stack, BUCKET, archive), lines


@pytest.mark.parametrize("view", [*FEEDS, "activity"])
def test_odd_lines_leave_every_other_line_as_it_was(view, lake, odd):
    def rows(lake):
        columns = [name for name, _ in lake.columns(f"SELECT * FROM {view}")]
        odd = "event_uuid LIKE 'ODD%' OR event_uuid IS NULL"
        other = lake.db.execute(f"SELECT * FROM {view} WHERE NOT ({odd}) ORDER BY ALL").fetchall()
        return columns, other, lake.db.execute(f"SELECT count(*) FROM {view} WHERE {odd}").fetchone()[0]

    columns, other, count = rows(odd[0])
    assert other
    assert (columns, other, 0) == rows(lake)
    planted = {feed: len(lines) + 1 for feed, lines in odd[1].items()}
    assert count == planted.get(view, sum(planted.values())), "an odd line is a row too"


@pytest.mark.parametrize("feed", FEEDS)
def test_an_odd_line_gives_null_where_it_is_odd(feed, odd):
    lake, lines = odd
    for line, wanted in lines[feed]:
        where = f"event_uuid = '{line['uuid']}'" if "uuid" in line else "event_uuid IS NULL"
        rows = lake.db.execute(f"SELECT {', '.join(wanted)}, line FROM {feed} WHERE {where}").fetchall()
        assert len(rows) == 1
        assert dict(zip(wanted, rows[0], strict=False)) == wanted
        assert json.loads(rows[0][-1]) == line, "the whole event is at hand"


def test_a_time_is_given_in_utc(odd):
    lake, lines = odd
    line = next(line for line, _ in lines["signin_attempts"] if line.get("uuid") == "ODD7")
    ((time, day),) = lake.db.execute(
        "SELECT event_time, event_date FROM signin_attempts WHERE event_uuid = 'ODD7'"
    ).fetchall()
    assert (time.isoformat(), day) == (f"{line['timestamp'][:10]}T12:00:00.123000", line["timestamp"][:10])


@pytest.mark.parametrize("feed", FEEDS)
def test_a_key_that_stands_twice_gives_one_row(feed, odd):
    column = "category" if feed == "signin_attempts" else "action"
    rows = odd[0].db.execute(f"SELECT {column} FROM {feed} WHERE event_uuid = 'ODD0'").fetchall()
    assert rows in ([("a",)], [("b",)])
