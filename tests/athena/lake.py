"""The deployed tables and views over a folder, in DuckDB."""

import base64
import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import athena_sql
import duckdb

LAZY = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"


def projected(table: dict, today: date) -> dict[str, str]:
    """Location by `event_date` of each partition that Athena projects for `table` on that day."""
    properties = table["Parameters"]
    assert properties["projection.enabled"] == "true"
    (key,) = (column["Name"] for column in table["PartitionKeys"])
    settings = {name.removeprefix(f"projection.{key}."): value for name, value in properties.items()}
    assert settings["type"] == "date" and settings["format"] == "yyyy-MM-dd"
    assert (settings["interval"], settings["interval.unit"]) == ("1", "DAYS")
    first, last = (
        today + timedelta(days=int(re.fullmatch(r"NOW([+-]\d+)DAYS", end)[1])) for end in settings["range"].split(",")
    )
    days = [str(first + timedelta(days=offset)) for offset in range((last - first).days + 1)]
    return {day: properties["storage.location.template"].replace(f"${{{key}}}", day) for day in days}


def definition(view: dict) -> dict:
    """What Athena reads of a view: its SQL, and the columns that it is to have."""
    encoded = re.fullmatch(r"/\* Presto View: ([A-Za-z0-9+/=]+) \*/", view["ViewOriginalText"])[1]
    return json.loads(base64.b64decode(encoded))


class Lake:
    """A folder as the bucket of that name, and the `tables()` and `views()` of a catalog over it."""

    def __init__(self, catalog, bucket: str, folder: Path):
        self.today = datetime.now(UTC).date()
        paths = sorted(folder.rglob("*.json.gz"))
        self.objects = {f"s3://{bucket}/{path.relative_to(folder)}": path for path in paths}
        self.db = duckdb.connect()
        self.db.execute("SET TimeZone = 'UTC'")
        self.db.execute(athena_sql.MACRO)
        for name, table in catalog.tables().items():
            if table["StorageDescriptor"]["SerdeInfo"]["SerializationLibrary"] == LAZY:
                self.create_table(name, table)
        # Views of views come last.
        for name, view in sorted(catalog.views().items(), key=lambda item: item[0] == "activity"):
            self.db.execute(f"CREATE VIEW {name} AS {athena_sql.duckdb(definition(view)['originalSql'])}")

    def partitions(self, table: dict) -> dict[str, list[str]]:
        """The objects below each projected partition that has any."""
        if not table.get("PartitionKeys"):
            locations = {"": table["StorageDescriptor"]["Location"]}
        else:
            locations = projected(table, self.today)
        found = {day: [uri for uri in self.objects if uri.startswith(location)] for day, location in locations.items()}
        return {day: uris for day, uris in found.items() if uris}

    def create_table(self, name: str, table: dict) -> None:
        """Splits lines and fields as LazySimpleSerDe does by default: at newlines and at U+0001."""
        self.db.execute(f'CREATE TABLE {name} (line varchar, "$path" varchar, event_date varchar)')
        syntax = "delim = '\x01', quote = '', escape = '', header = false, auto_detect = false, compression = 'gzip'"
        insert = f"INSERT INTO {name} SELECT line, ?, ? FROM read_csv(?, columns = {{'line': 'varchar'}}, {syntax})"
        for day, uris in self.partitions(table).items():
            for uri in uris:
                self.db.execute(insert, [uri, day or None, str(self.objects[uri])])
        if not table.get("PartitionKeys"):
            self.db.execute(f"ALTER TABLE {name} DROP event_date")

    def run(self, athena: str) -> list[tuple]:
        """The rows of an Athena statement."""
        return self.db.execute(athena_sql.duckdb(athena)).fetchall()

    def columns(self, athena: str) -> list[tuple[str, str]]:
        """Name and DuckDB type of each column of an Athena statement."""
        described = self.db.execute(f"DESCRIBE {athena_sql.duckdb(athena)}").fetchall()
        return [(name, kind) for name, kind, *_ in described]
