"""A lake that the real collector wrote from what the simulator of the API showed.

OPLAKE and EVENTS_API_SIMULATOR name the programs, if they are not in target/debug.
"""

import json
import os
import subprocess
import sys
import urllib.request
from datetime import UTC, date, datetime
from pathlib import Path

import company
import pytest
from lake import Lake
from template import ROOT, Stack

sys.path.insert(0, str(ROOT / "infra/athena"))

PATHS = {"signin_attempts": "signinattempts", "item_usages": "itemusages", "audit_events": "auditevents"}
ACCOUNT = "acme"
BUCKET = "lake"


def program(variable: str, name: str) -> str:
    path = Path(os.environ.get(variable, ROOT / "target/debug" / name))
    if not path.exists():
        pytest.fail(f"{path} is not there: run `cargo build --workspace --bins`, or name it in {variable}")
    return str(path)


def collect(folder: Path, records: list[tuple[str, str]]) -> Path:
    """Has the collector write these records, a feed and the text of an item each, and returns the archive."""
    command = [program("EVENTS_API_SIMULATOR", "events-api-simulator"), "--events", "0", "--no-rate-limit"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        try:
            ready = json.loads(simulator.stdout.readline())
            for feed, item in records:
                push = {"feed": PATHS[feed], "item": item, "visible_at": "2020-01-01T00:00:00Z"}
                body = json.dumps(push).encode()
                headers = {"Content-Type": "application/json"}
                request = urllib.request.Request(f"{ready['url']}/_sim/events", body, headers)
                urllib.request.urlopen(request, timeout=10).close()
            archive = folder / "lake"
            arguments = ["--archive", archive, "--checkpoints", folder / "lake.sqlite", "--account", ACCOUNT]
            subprocess.run(
                [program("OPLAKE", "oplake"), "collect", *arguments, "--api-url", ready["url"]],
                env=os.environ | {"OP_EVENTS_API_TOKEN": ready["token"]},
                check=True,
                timeout=60,
            )
        finally:
            simulator.terminate()
    return archive


@pytest.fixture(scope="session")
def today() -> date:
    return datetime.now(UTC).date()


@pytest.fixture(scope="session")
def stack() -> Stack:
    return Stack()


@pytest.fixture(scope="session")
def archive(tmp_path_factory, today) -> Path:
    bad = [(feed, item) for feed, records in company.BAD_RECORDS.items() for item, _ in records]
    return collect(tmp_path_factory.mktemp("company"), company.lines(company.history(today)) + bad)


@pytest.fixture(scope="session")
def lake(stack, archive) -> Lake:
    return Lake(stack, BUCKET, archive)
