"""A company in which something happened for every saved query.

Every situation has people of its own, so that a query which finds the events of
another one shows it. Days count back from today, in UTC. Nothing stands on the
edge of a window, so midnight may pass while the tests run.
"""

import hashlib
import itertools
import json
from datetime import date, timedelta

ACCOUNT_UUID = "J7ACCTX4QPZ2MWV5KHN3RBTDLE"
CANADA = (
    "CA",
    {"country": "Canada", "region": "Ontario", "city": "Toronto", "latitude": 43.6532, "longitude": -79.3832},
    "203.0.113.24",
)
GERMANY = (
    "DE",
    {"country": "Germany", "region": "Hesse", "city": "Frankfurt am Main", "latitude": 50.1109, "longitude": 8.6821},
    "2001:db8::17",
)
OTTAWA = (
    "CA",
    {"country": "Canada", "region": "Ontario", "city": "Ottawa", "latitude": 45.4215, "longitude": -75.6972},
    "203.0.113.25",
)
# Without a location, which the API leaves out at times.
BRAZIL = ("BR", None, "198.51.100.77")
CI = ("US", None, "198.51.100.9")


def identifier(text: str) -> str:
    """26 letters and digits, as the API's identifiers, the same for the same text."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return "".join(letters[number >> 5 * index & 31] for index in range(26))


def user(name: str, **more) -> dict:
    email = more.pop("email", f"{name.lower().replace(' ', '.')}@acme.example")
    return {"uuid": identifier(name), "name": name, "email": email} | more


def item(name: str) -> str:
    return identifier("item " + name).lower()


def vault(name: str) -> str:
    return identifier("vault " + name).lower()


class Company:
    """The events of the last 120 days."""

    def __init__(self, today: date):
        self.today = today
        self.shift = 0
        self.numbers = itertools.count(1)
        self.events: list[tuple[str, dict]] = []

    def time(self, days_ago: int, time: str) -> str:
        return f"{self.today - timedelta(days=days_ago + self.shift)}T{time}Z"

    def add(self, feed: str, days_ago: int, time: str, **fields) -> None:
        event = {"uuid": identifier(f"event {next(self.numbers)}"), "timestamp": self.time(days_ago, time)}
        given = {name: value for name, value in fields.items() if value is not None}
        self.events.append((feed, event | given | {"account_uuid": ACCOUNT_UUID}))

    def signin(
        self, days_ago, time, name, outcome=("success", "mfa_ok"), place=CANADA, app="1Password for Mac", **more
    ):
        country, location, address = place
        who = name if isinstance(name, dict) else user(name)
        fields = {"session_uuid": identifier(f"session {who['name']} {days_ago} {time}"), "details": None} | more
        client = {
            "app_name": app,
            "app_version": "81052010",
            "platform_name": "MBP-7",
            "os_name": "MacOSX",
            "ip_address": address,
        }
        category, type_ = outcome
        self.add(
            "signin_attempts",
            days_ago,
            time,
            category=category,
            type=type_,
            country=country,
            target_user=who,
            client=client,
            location=location,
            **fields,
        )

    def use(self, days_ago, time, name, action, item_name, vault_name="shared", place=CANADA, app="1Password for Mac"):
        _, location, address = place
        who = name if isinstance(name, dict) else user(name)
        client = {
            "app_name": app,
            "app_version": "81052010",
            "platform_name": "MBP-7",
            "os_name": "MacOSX",
            "ip_address": address,
        }
        self.add(
            "item_usages",
            days_ago,
            time,
            used_version=3,
            vault_uuid=vault(vault_name),
            item_uuid=item(item_name),
            action=action,
            user=who,
            client=client,
            location=location,
        )

    def audit(self, days_ago, time, name, action, object_type, object_uuid=None, about=None, aux=None, **more):
        who = name if isinstance(name, dict) else user(name)
        fields = {
            "session": {
                "uuid": identifier("session " + who["name"]),
                "login_time": self.time(days_ago, "00:00:01.5"),
                "ip": CANADA[2],
            }
        } | more
        if about:
            fields |= {"object_uuid": identifier(about), "object_details": user(about)}
        elif object_uuid:
            fields |= {"object_uuid": object_uuid}
        if aux:
            fields |= {"aux_uuid": identifier(aux), "aux_details": user(aux)}
        self.add(
            "audit_events",
            days_ago,
            time,
            actor_uuid=who["uuid"],
            actor_details=who,
            actor_type="user",
            action=action,
            object_type=object_type,
            location=CANADA[1],
            **fields,
        )


BAD_PASSWORD = ("credentials_failed", "password_secret_bad")
REPORTED = ("firewall_reported_success", "country_blocked")
SETTINGS = ["enblmfa", "updatmfa", "disblmfa", "enblduo", "updatduo", "disblduo"]


def history(today: date) -> Company:
    company = Company(today)
    for company.shift in (0, 60):
        # What happened recently happened two months ago as well, outside of
        # every window of less than 90 days.
        recent(company)
    company.shift = 0
    long_ago(company)
    return company


def recent(c: Company) -> None:
    # Failed sign-ins, and one that is too long ago.
    for minute in (0, 5, 10):
        c.signin(2, f"08:{minute:02}:00.716235495", "Fay Failing", BAD_PASSWORD, BRAZIL)
    c.signin(1, "06:30:00", "Fay Failing")
    c.signin(1, "07:00:00", "Fay Failing", ("mfa_failed", "totp_bad"), GERMANY)
    c.signin(9, "07:00:00", "Fay Failing", ("mfa_failed", "totp_bad"), GERMANY)

    # Five users of one address within an hour; of another, five within two.
    for number in range(5):
        c.signin(3, f"10:{10 * number:02}:00", f"Spray {number}", BAD_PASSWORD, ("NL", None, "198.51.100.50"))
        c.signin(
            3,
            f"{10 + number // 4}:{10 * number:02}:30",
            f"Drizzle {number}",
            BAD_PASSWORD,
            ("NL", None, "198.51.100.51"),
        )
    c.signin(3, "10:59:00", "Spray 0", BAD_PASSWORD, ("NL", None, "198.51.100.50"))
    # Five who failed at nothing, from one address each hour.
    for number in range(5):
        c.signin(5, f"08:{10 * number:02}:00", f"Office {number}")
        c.signin(5, f"09:{10 * number:02}:00", f"Office {number}", REPORTED, details={"value": "Canada"})

    # Five failures, then a success. Four are not enough, and two hours are too many.
    for minute in range(5):
        c.signin(4, f"11:0{minute}:00", "Gus Guessed", BAD_PASSWORD)
        c.signin(4, f"11:1{minute}:00", "Larry Late", BAD_PASSWORD)
        c.signin(4, f"12:0{minute}:00", "Gina Guessed", BAD_PASSWORD, BRAZIL)
    for minute in range(4):
        c.signin(4, f"11:0{minute}:30", "Fred Forgetful", BAD_PASSWORD)
    c.signin(4, "11:04:30", "Fred Forgetful", REPORTED, details={"value": "Canada"})
    c.signin(4, "12:10:00", "Gina Guessed", REPORTED, BRAZIL, details={"value": "Brazil"})
    for name, time in ("Gus Guessed", "11:30:00"), ("Fred Forgetful", "11:30:01"), ("Larry Late", "13:30:00"):
        c.signin(4, time, name)

    # Toronto and Frankfurt within two hours, with a place unknown in between; within a
    # day; and Toronto and Ottawa within five minutes.
    c.signin(2, "09:00:00", "Tess Traveller")
    c.signin(2, "10:00:00", "Tess Traveller", place=CI)
    c.signin(2, "11:00:00", "Tess Traveller", REPORTED, GERMANY, details={"value": "Germany"})
    c.signin(3, "09:10:00", "Sven Slow")
    c.signin(2, "09:10:00", "Sven Slow", place=GERMANY)
    c.signin(2, "09:20:00", "Nick Near")
    c.signin(2, "09:25:00", "Nick Near", place=OTTAWA)

    # A new country, a country that was new eight days ago, and an old one.
    c.signin(20, "09:00:00", "Nora Newland")
    c.signin(2, "09:30:00", "Nora Newland", REPORTED, BRAZIL, details={"value": "Brazil"})
    c.signin(8, "09:00:00", "Newt Comer")
    c.signin(2, "09:31:00", "Newt Comer", place=GERMANY)
    c.signin(20, "09:00:00", "Early Bird")
    c.signin(8, "09:00:00", "Early Bird", place=GERMANY)
    c.signin(20, "09:00:00", "Carl Commuter")
    c.signin(2, "09:32:00", "Carl Commuter")

    c.signin(
        1, "05:00:00", "Finn Fire", ("firewall_failed", "continent_blocked"), BRAZIL, details={"value": "South America"}
    )
    c.signin(12, "05:00:00", "Otto Old", ("modern_version_failed", "modern_version_old"), app="1Password for Windows")
    c.signin(13, "05:00:00", "Otto Old", ("modern_version_failed", "modern_version_old"), app="1Password for Windows")

    c.audit(
        2,
        "12:00:00",
        "Dev Newdevice",
        "create",
        "device",
        identifier("phone").lower(),
        aux="Dev Newdevice",
        aux_id=9277034,
    )
    c.audit(2, "12:01:00", "Dev Newdevice", "delete", "device", identifier("old phone").lower())

    for number, action in enumerate(["reveal", "reveal", "secure-copy", "fill"]):
        c.use(3, f"13:0{number}:00", "Rev Ealer", action, f"revealed {number}")
    c.use(3, "13:05:00", "Rev Ealer", "reveal", "revealed 0", "private")

    for time in "14:00:00", "14:00:01":
        c.use(15, time, "Ex Porter", "export", "exported 1", "finance")
    c.use(15, "14:00:02.25", "Ex Porter", "export", "exported 2", "finance")
    c.use(16, "14:00:00", "Ex Porter", "export", "exported 1", "legal")

    # Twenty within an hour of the clock, and nineteen of which one twice.
    for number in range(20):
        c.use(10, f"15:{2 * number:02}:00", "Bulk Exporter", "export", f"bulk {number}", f"vault {number % 2}")
        action = "reveal" if number < 10 else "secure-copy"
        c.use(12, f"15:{2 * number:02}:00", "Bulk Revealer", action, f"bulk {number}", place=GERMANY)
        c.use(10, f"16:{2 * number:02}:00", "Nina Nineteen", "export", f"bulk {number % 19}")
        c.use(12, f"16:{2 * number:02}:00", "Nina Nineteen", "reveal", f"bulk {number % 19}")
    c.use(10, "15:59:00", "Bulk Exporter", "export", "bulk 0", "vault 0")
    c.use(12, "15:59:00", "Bulk Revealer", "reveal", "bulk 0", place=GERMANY)

    # Both names under which the API is known to send the type of a user.
    technician = user(
        "Msp Technician",
        email="tech@msp.example",
        user_type="external_user",
        user_account_uuid="MSPACCT7ZQ2LWXV4KHN5RBTDSE",
    )
    for second in range(2):
        c.use(9, f"10:00:0{second}", technician, "reveal", "printer")
    c.use(9, "10:01:00", user("Msp Assistant", email="help@msp.example", type="external_user"), "fill", "printer")

    # Service accounts: one at a new address, one whose address was new eight days ago,
    # one of eight days, and one that is new itself.
    def bot(days_ago: int, time: str, name: str, item_name: str, address: str) -> None:
        who = user(name, email=f"{name}@1passwordserviceaccounts.com")
        c.use(days_ago, time, who, "server-fetch", item_name, place=("US", None, address), app="1Password CLI")

    for days_ago, address in (20, "198.51.100.9"), (8, "203.0.113.97"), (2, "198.51.100.9"), (1, "203.0.113.99"):
        bot(days_ago, "03:00:00", "deploy-bot", "key", address)
    bot(1, "03:00:01", "deploy-bot", "other key", "203.0.113.99")
    bot(1, "03:00:02", "deploy-bot", "other key", "203.0.113.99")
    bot(8, "03:00:00", "young-bot", "key", "198.51.100.9")
    bot(2, "03:00:00", "young-bot", "key", "203.0.113.98")
    bot(3, "03:00:00", "new-bot", "key", "198.51.100.9")

    c.audit(5, "10:00:00", "Shay Sharer", "share", "item", item("shared"), aux_uuid=vault("shared"))
    c.audit(5, "10:01:00", "Shay Sharer", "delshare", "item", item("shared"), aux_uuid=vault("shared"))
    c.audit(5, "10:02:00", "Shay Sharer", "share", "file", identifier("file"))
    c.audit(5, "10:03:00", "Shay Sharer", "create", "item", item("shared"))

    c.audit(5, "10:10:00", "Vic Vaulter", "export", "vault", vault("finance"))
    c.audit(5, "10:11:00", "Vic Vaulter", "create", "vault", vault("new"))
    c.audit(5, "10:12:00", "Vic Vaulter", "export", "report", identifier("report"))

    c.audit(5, "10:20:00", "Ada Admin", "grant", "uva", vault("finance"), aux="Nia New", aux_info="1048690")
    c.audit(
        5,
        "10:21:00",
        "Ada Admin",
        "update",
        "gva",
        vault("finance"),
        aux_uuid=identifier("group").lower(),
        aux_info="1048690",
    )
    c.audit(5, "10:22:00", "Ada Admin", "revoke", "uva", vault("finance"), aux="Nia New")
    c.audit(5, "10:23:00", "Ada Admin", "update", "vault", vault("finance"))

    c.audit(5, "10:30:00", "Greta Grouper", "create", "group", identifier("group").lower())
    c.audit(5, "10:31:00", "Greta Grouper", "join", "gm", identifier("group").lower(), aux="Nia New", aux_info="A")
    c.audit(5, "10:32:00", "Greta Grouper", "join", "gm", identifier("group").lower(), aux="Leo Leaver", aux_info="R")
    c.audit(5, "10:33:00", "Greta Grouper", "leave", "gm", identifier("group").lower(), aux="Leo Leaver")

    c.audit(5, "10:50:00", "Sue Spender", "suspend", "user", about="Leo Leaver")
    c.audit(4, "10:51:00", "Sue Spender", "reactive", "user", about="Leo Leaver")
    c.audit(4, "10:52:00", "Sue Spender", "activate", "user", about="Nia New")
    c.audit(4, "10:53:00", "Sue Spender", "delete", "user", about="Leo Leaver")

    for minute, action in enumerate(["beginr", "cancelr", "completr"]):
        c.audit(5, f"11:0{minute}:00", "Rob Recovers", action, "user", about="Nia New")
    c.audit(5, "11:05:00", "Rob Recovers", "cancelr", "famchild", identifier("family"))

    c.audit(5, "11:10:00", "Ivy Inviter", "create", "invite", identifier("invite"), aux_info="new@acme.example")

    c.audit(5, "11:20:00", "Tom Tokens", "create", "sa", identifier("sa"))
    c.audit(5, "11:21:00", "Tom Tokens", "create", "satoken", identifier("satoken"), aux_info="deploy")
    c.audit(5, "11:22:00", "Tom Tokens", "trevoke", "satoken", identifier("satoken"))

    person = user("Some Person", email="Person@Example.com")
    c.signin(2, "14:00:00", person)
    c.use(2, "14:01:00", person, "fill", "common")
    c.audit(2, "14:02:00", person, "view", "report", identifier("report"))

    session = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    c.signin(3, "17:00:00", "Sia Session", session_uuid=session)
    c.audit(3, "17:01:00", "Sia Session", "view", "report", identifier("report"), session={"uuid": session})
    c.audit(3, "17:02:00", "Sia Session", "view", "report", identifier("report"))


def long_ago(c: Company) -> None:
    for minute, action in enumerate(SETTINGS):
        c.audit(5, f"12:0{minute}:00", "Sam Settings", action, "user", about="Nia New")
    c.audit(4, "10:41:00", "Sam Settings", "updatfw", "account")
    c.audit(80, "10:42:00", "Sam Settings", "enblsso", "sso")
    c.audit(95, "10:43:00", "Sam Settings", "updatfw", "account")

    # An item that nobody used for 97 days. Those who used it did something in between.
    c.use(100, "09:00:00", "Ines Okafor", "fill", "forgotten")
    c.use(3, "09:00:00", "Zoe Zander", "fill", "forgotten", place=GERMANY)
    c.use(20, "09:00:00", "Zoe Zander", "fill", "common")
    for days_ago in (50, 9, 5):
        c.use(days_ago, "09:00:00", "Ines Okafor", "fill", "common")
    # A person who was away for 103 days, and one who came back eight days ago. The
    # items are in use.
    c.use(105, "09:00:00", "Rita Returned", "fill", "common")
    c.use(2, "09:00:00", "Rita Returned", "fill", "common")
    c.use(115, "09:00:00", "Pat Past", "fill", "awaited")
    c.use(8, "09:00:00", "Pat Past", "fill", "awaited")


# Records that cannot stand in the lake, and the reason that the collector gives.
BAD_RECORDS = {
    "signin_attempts": [('"no object"', "not_an_object")],
    "audit_events": [
        ('{"uuid":"NOTIME"}', "no_timestamp"),
        ('{"uuid":"BADTIME","timestamp":"yesterday"}', "bad_timestamp"),
    ],
}


def lines(company: Company) -> list[tuple[str, str]]:
    return [(feed, json.dumps(event, separators=(",", ":"))) for feed, event in company.events]
