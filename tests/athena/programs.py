"""The built programs, and what they collect.

COLLECTOR, OPLAKE and EVENTS_API_SIMULATOR name them, if they are not in target/debug.
"""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The feeds, and their names in the API's URLs.
PATHS = {"signin_attempts": "signinattempts", "item_usages": "itemusages", "audit_events": "auditevents"}
ACCOUNT = "acme"


def program(variable: str, name: str) -> Path:
    path = Path(os.environ.get(variable, ROOT / "target/debug" / name))
    if not path.exists():
        raise FileNotFoundError(f"{path}: run `cargo build --workspace --bins`, or name it in {variable}")
    return path


def collect(folder: Path, records: list[tuple[str, str]], simulated=("--events", "0")) -> Path:
    """Has oplake collect these records, and what the simulator shows by its arguments.

    A record is a feed and the text of an item. Returns the archive.
    """
    command = [program("EVENTS_API_SIMULATOR", "events-api-simulator"), "--no-rate-limit", *simulated]
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
