"""A lake that the real collector wrote from what the simulator of the API showed."""

import sys
from datetime import UTC, date, datetime
from pathlib import Path

import company
import pytest
from lake import Lake
from programs import collect
from template import ROOT, Stack

sys.path.insert(0, str(ROOT / "infra/athena"))

BUCKET = "lake"


@pytest.fixture(scope="session")
def today() -> date:
    return datetime.now(UTC).date()


@pytest.fixture(scope="session")
def stack() -> Stack:
    return Stack()


@pytest.fixture(scope="session")
def archive(tmp_path_factory, today) -> Path:
    bad = [(feed, item) for feed, records in company.BAD_RECORDS.items() for item, _ in records]
    records = company.lines(company.history(today)) + bad
    return collect(tmp_path_factory.mktemp("company"), records)


@pytest.fixture(scope="session")
def lake(stack, archive) -> Lake:
    return Lake(stack, BUCKET, archive)
