"""Each column of each view holds the field that it is said to hold."""

import json

import company
import pytest
from conftest import BUCKET
from lake import Lake
from programs import ACCOUNT, collect

USER = {
    "uuid": "U",
    "name": "Ines \u00d8",
    "email": "ines@acme.example",
    "user_type": "user",
    "user_account_uuid": "UA",
}
CLIENT = {
    "app_name": "app",
    "app_version": "1.2",
    "platform_name": "platform",
    "platform_version": "3.4",
    "os_name": "os",
    "os_version": "5.6",
    "ip_address": "2001:db8::1",
}
LOCATION = {"country": "Canada", "region": "Ontario", "city": "Toronto", "latitude": 43.6532, "longitude": -79.3832}
SESSION = {"uuid": "S", "device_uuid": "d", "ip": "203.0.113.1"}


def details(name: str) -> dict:
    return {"uuid": f"{name} U", "name": f"{name} name", "email": f"{name}@acme.example"}


# Every documented field; no two values of a feed are the same.
EVENTS = {
    "signin_attempts": {
        "category": "success",
        "type": "mfa_ok",
        "session_uuid": "S",
        "country": "CA",
        "details": {"value": "matched"},
        "target_user": USER,
        "client": CLIENT,
        "location": LOCATION,
        "account_uuid": "A",
    },
    "item_usages": {
        "action": "reveal",
        "used_version": 7,
        "vault_uuid": "v",
        "item_uuid": "i",
        "user": USER,
        "client": CLIENT,
        "location": LOCATION,
        "account_uuid": "A",
    },
    "audit_events": {
        "actor_uuid": "AU",
        "actor_details": details("actor"),
        "actor_type": "user",
        "actor_account_uuid": "AA",
        "action": "join",
        "object_type": "gm",
        "object_uuid": "OU",
        "object_details": details("object"),
        "aux_id": 9223372036854775807,
        "aux_uuid": "XU",
        "aux_details": details("aux"),
        "aux_info": "R",
        "session": SESSION,
        "location": LOCATION,
        "account_uuid": "A",
    },
}
OF_USER = {f"user_{name}": USER[name] for name in ("uuid", "name", "email")} | {
    "user_type": "user",
    "user_account_uuid": "UA",
}
OF_LOCATION = {f"location_{name}": value for name, value in LOCATION.items()}
OF_AUDIT = {
    f"{name}_{field}": details(name)[field] for name in ("actor", "object", "aux") for field in ("name", "email")
}
NAMES = {
    "signin_attempts": {"session_uuid": "S", "category": "success", "type": "mfa_ok", "country": "CA"}
    | {"details_value": "matched"}
    | OF_USER
    | CLIENT
    | OF_LOCATION,
    "item_usages": {"action": "reveal", "item_uuid": "i", "vault_uuid": "v", "used_version": 7}
    | OF_USER
    | CLIENT
    | OF_LOCATION,
    "audit_events": {"actor_uuid": "AU", "actor_type": "user", "actor_account_uuid": "AA", "action": "join"}
    | {"object_type": "gm", "object_uuid": "OU", "aux_id": 9223372036854775807, "aux_uuid": "XU", "aux_info": "R"}
    | {"session_uuid": "S", "session_device_uuid": "d", "ip_address": "203.0.113.1"}
    | OF_AUDIT
    | OF_LOCATION,
}
IN_ACTIVITY = {
    "signin_attempts": {
        "actor_uuid": "U",
        "actor_name": USER["name"],
        "actor_email": USER["email"],
        "actor_type": "user",
    }
    | {
        "action": "success",
        "action_info": "mfa_ok",
        "session_uuid": "S",
        "ip_address": "2001:db8::1",
        "app_name": "app",
    },
    "item_usages": {"actor_uuid": "U", "actor_name": USER["name"], "actor_email": USER["email"], "actor_type": "user"}
    | {"action": "reveal", "object_type": "item", "object_uuid": "i", "aux_uuid": "v"}
    | {"ip_address": "2001:db8::1", "app_name": "app"},
    "audit_events": {"actor_uuid": "AU", "actor_type": "user", "action": "join", "action_info": "R"}
    | {"object_type": "gm", "object_uuid": "OU", "aux_uuid": "XU", "session_uuid": "S", "ip_address": "203.0.113.1"}
    | OF_AUDIT,
}


@pytest.fixture(scope="module")
def times(today) -> dict[str, str]:
    """An event and the sign-in of its session, in Brazil, on two days in UTC."""
    day = company.Company(today).time(3, "")[:10]
    return {"timestamp": f"{day}T22:30:00.123456789-03:00", "login_time": f"{day}T20:00:00Z"}


@pytest.fixture(scope="module")
def whole(stack, times, tmp_path_factory) -> Lake:
    events = {feed: {"uuid": feed, "timestamp": times["timestamp"]} | event for feed, event in EVENTS.items()}
    events["audit_events"] |= {"session": SESSION | {"login_time": times["login_time"]}}
    records = [(feed, json.dumps(event, separators=(",", ":"))) for feed, event in events.items()]
    return Lake(stack, BUCKET, collect(tmp_path_factory.mktemp("whole"), records))


def row(lake: Lake, view: str, uuid: str) -> dict:
    names = [name for name, _ in lake.columns(f"SELECT * FROM {view}")]
    (values,) = lake.db.execute(f"SELECT * FROM {view} WHERE event_uuid = ?", [uuid]).fetchall()
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize("feed", EVENTS)
def test_a_whole_event_fills_every_column(feed, whole, times, today):
    found = row(whole, feed, feed)
    line = json.loads(found.pop("line"))
    assert {name: line[name] for name in EVENTS[feed] if name != "session"} == {
        name: value for name, value in EVENTS[feed].items() if name != "session"
    }
    day = str(today.fromordinal(today.toordinal() - 2))
    assert found.pop("event_time").isoformat() == f"{day}T01:30:00.123000", "UTC, of the next day there"
    assert found.pop("event_date") == day
    if feed == "audit_events":
        assert found.pop("session_login_time").isoformat() == times["login_time"].removesuffix("Z")
    shared = {"event_timestamp": times["timestamp"], "account": ACCOUNT, "event_uuid": feed, "account_uuid": "A"}
    assert found == NAMES[feed] | shared


@pytest.mark.parametrize("feed", EVENTS)
def test_activity_has_what_the_view_of_the_feed_has(feed, whole):
    found, source = row(whole, "activity", feed), row(whole, feed, feed)
    place = {name: source[name] for name in ("event_time", "event_date", "location_country", "location_city")}
    wanted = place | IN_ACTIVITY[feed] | {"feed": feed, "account": ACCOUNT, "event_uuid": feed}
    assert {name: value for name, value in found.items() if value is not None} == wanted
