"""Lines of objects that the real collector wrote from what the simulator of the API showed."""

import functools
import gzip
import json
import tempfile
from pathlib import Path

from programs import PATHS, collect

FEEDS = list(PATHS)

# Times that the simulator does not draw: no fraction, each number of digits, trailing
# zeros, offsets of half and quarter hours, the ends of a leap year's days.
TIMES = [
    "2028-02-29T23:59:59Z",
    "2028-02-29T23:59:59.999999999Z",
    "2028-03-01T00:00:00.000000001Z",
    "2027-12-31T23:59:59.999999+14:00",
    "2028-01-01T00:00:00.000001-12:00",
    "2028-02-29T02:30:00.25+05:30",
    "2028-02-28T20:15:00.5-03:30",
    "2028-02-29T00:00:00.100+00:00",
    "2028-02-29T00:00:00.100-00:00",
    "2028-02-29T05:45:00.000+05:45",
    *(f"2028-02-29T12:00:00.{'987654321'[:digits]}Z" for digits in range(1, 10)),
    *(f"2028-02-29T12:00:00.{'123456789'[:digits]}+02:00" for digits in range(1, 10)),
]
USER = {
    "uuid": "4MZLQX2TBV7KHRWJ5NDGYC6PSE",
    "name": "Ines Okafor \N{GRINNING FACE}",
    "email": "ines.okafor@acme.example",
}
CLIENT = {"app_name": "1Password CLI", "app_version": "2030001", "ip_address": "2001:db8::17"}
EDGES = {
    "signin_attempts": {
        "category": "firewall_reported_success",
        "type": "country_blocked",
        "details": {"value": "Canada"},
        "country": "CA",
        "target_user": USER,
        "client": CLIENT,
    },
    "item_usages": {
        "used_version": 0,
        "vault_uuid": "jaqxqf5qylslqiitnduawrndc5",
        "item_uuid": "bvwmmwxisuca7wbehrbyqhag54",
        "action": "export",
        "user": USER,
        "client": CLIENT,
    },
    "audit_events": {
        "actor_uuid": USER["uuid"],
        "actor_details": USER,
        "action": "create",
        "object_type": "device",
        "object_uuid": "rqtd557fn2husnstp5nc66w2xa",
        "aux_id": 0,
        "aux_uuid": USER["uuid"],
        "aux_details": USER,
        "session": {"uuid": "ODOHXX7QCJBUJKRGZNNPBJURPE", "ip": "203.0.113.24"},
    },
}


@functools.cache
def collected() -> dict[str, tuple[str, ...]]:
    """By feed, the lines of drawn events and of one for each of TIMES, without their newlines."""
    records = [
        (feed, json.dumps({"uuid": f"EDGE{number:022}", "timestamp": time} | event, separators=(",", ":")))
        for feed, event in EDGES.items()
        for number, time in enumerate(TIMES)
    ]
    # The same events each time.
    simulated = ["--events", "3000", "--now", "2028-03-02T00:00:00Z", "--frozen"]
    lines = {feed: [] for feed in FEEDS}
    with tempfile.TemporaryDirectory() as folder:
        archive = collect(Path(folder), records, simulated)
        for path in sorted((archive / "onepassword/v1").rglob("*.json.gz")):
            text = gzip.decompress(path.read_bytes()).decode()
            assert text.endswith("\n")
            lines[path.parts[-4]] += text[:-1].split("\n")
    return {feed: tuple(found) for feed, found in lines.items()}
