#!/usr/bin/env python3
"""Runs an Athena statement over a deployed stack whose Athena cannot: the local stack's.

Takes tables and views from Glue, objects from S3, and runs the statement, read
from standard input, in DuckDB as the tests do. Prints a JSON object for each row.

    AWS_ENDPOINT_URL=http://127.0.0.1:4566 tests/athena/deployed.py onepassword < infra/athena/queries/events-by-day.sql
"""

import json
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from lake import Lake


class Deployed:
    """The tables and views of a Glue database."""

    def __init__(self, database: str):
        pages = boto3.client("glue").get_paginator("get_tables").paginate(DatabaseName=database)
        self.inputs = [table for page in pages for table in page["TableList"]]

    def tables(self) -> dict[str, dict]:
        return {table["Name"]: table for table in self.inputs if table["TableType"] == "EXTERNAL_TABLE"}

    def views(self) -> dict[str, dict]:
        return {table["Name"]: table for table in self.inputs if table["TableType"] == "VIRTUAL_VIEW"}


def download(location: str, folder: Path) -> None:
    """Copies the objects below an S3 location to their keys in `folder`."""
    uri, s3 = urlsplit(location), boto3.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=uri.netloc, Prefix=uri.path.lstrip("/"))
    for key in (item["Key"] for page in pages for item in page.get("Contents", [])):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(uri.netloc, key, str(path))


def main(database: str) -> None:
    catalog = Deployed(database)
    locations = {table["StorageDescriptor"]["Location"] for table in catalog.tables().values()}
    (bucket,) = {urlsplit(location).netloc for location in locations}
    with tempfile.TemporaryDirectory() as folder:
        for location in locations:
            download(location, Path(folder))
        lake = Lake(catalog, bucket, Path(folder))
        sql = sys.stdin.read()
        names = [name for name, _ in lake.columns(sql)]
        for row in lake.run(sql):
            print(json.dumps(dict(zip(names, row, strict=True)), default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
