"""What each saved query finds in `company.history`, and nothing else.

`normal` gives the rows of a query this form: a time is "D-<days before today> <time>".
"""

from collections import Counter
from datetime import date, datetime

from company import (
    BAD_PASSWORD,
    BAD_RECORDS,
    BRAZIL,
    CANADA,
    SETTINGS,
    Company,
    identifier,
    item,
    vault,
)

ACCOUNT = "acme"
TORONTO, FRANKFURT = CANADA[2], "2001:db8::17"
GROUP = identifier("group").lower()
REPORT = identifier("report")


def normal(rows: list[tuple], today: date) -> list[tuple]:
    def one(value):
        if isinstance(value, datetime):
            return f"D-{(today - value.date()).days} {value.time().isoformat('auto')}"
        return value

    return [tuple(one(value) for value in row) for row in rows]


def at(name: str) -> str:
    return f"{name}@acme.example"


def failures(name, country, outcome, attempts, first, last):
    return (ACCOUNT, at(name), country, *outcome, attempts, first, last)


def let_in(time, name, rule, address, country):
    return (time, ACCOUNT, at(name), "firewall_reported_success", "country_blocked", rule, address, country)


ROWS = {
    "signin-failures-by-user-and-country": [
        failures("gina.guessed", "BR", BAD_PASSWORD, 5, "D-4 12:00:00", "D-4 12:04:00"),
        failures("gus.guessed", "CA", BAD_PASSWORD, 5, "D-4 11:00:00", "D-4 11:04:00"),
        failures("larry.late", "CA", BAD_PASSWORD, 5, "D-4 11:10:00", "D-4 11:14:00"),
        failures("fred.forgetful", "CA", BAD_PASSWORD, 4, "D-4 11:00:30", "D-4 11:03:30"),
        failures("fay.failing", "BR", BAD_PASSWORD, 3, "D-2 08:00:00.716000", "D-2 08:10:00.716000"),
        failures("spray.0", "NL", BAD_PASSWORD, 2, "D-3 10:00:00", "D-3 10:59:00"),
        *(
            failures(f"drizzle.{number}", "NL", BAD_PASSWORD, 1, time, time)
            for number, time in enumerate(f"D-3 {time}:30" for time in ("10:00", "10:10", "10:20", "10:30", "11:40"))
        ),
        failures("fay.failing", "DE", ("mfa_failed", "totp_bad"), 1, "D-1 07:00:00", "D-1 07:00:00"),
        failures("finn.fire", "BR", ("firewall_failed", "continent_blocked"), 1, "D-1 05:00:00", "D-1 05:00:00"),
        *(
            failures(f"spray.{number}", "NL", BAD_PASSWORD, 1, f"D-3 10:{number}0:00", f"D-3 10:{number}0:00")
            for number in range(1, 5)
        ),
    ],
    "signin-failures-of-many-users": [(ACCOUNT, "198.51.100.50", "D-3 10:00:00", 5, 6, "NL")],
    "signin-success-after-failures": [
        ("D-4 11:30:00", ACCOUNT, at("gus.guessed"), 5, "mfa_ok", TORONTO, "CA"),
        ("D-4 12:10:00", ACCOUNT, at("gina.guessed"), 5, "country_blocked", BRAZIL[2], "BR"),
    ],
    # 6,333 km: the haversine distance of the two pairs of coordinates, with a radius of 6,371 km.
    "signin-impossible-travel": [
        (
            *(ACCOUNT, at("tess.traveller")),
            *("D-2 09:00:00", "Toronto", TORONTO),
            *("D-2 11:00:00", "Frankfurt am Main", FRANKFURT),
            6333,
        )
    ],
    "signin-from-new-country": [
        (ACCOUNT, at("nora.newland"), "BR", "D-2 09:30:00", 1),
        (ACCOUNT, at("newt.comer"), "DE", "D-2 09:31:00", 1),
    ],
    "signin-firewall-matches": [
        *(let_in(f"D-5 09:{number}0:00", f"office.{number}", "Canada", TORONTO, "CA") for number in range(5)),
        let_in("D-4 11:04:30", "fred.forgetful", "Canada", TORONTO, "CA"),
        let_in("D-4 12:10:00", "gina.guessed", "Brazil", BRAZIL[2], "BR"),
        let_in("D-2 09:30:00", "nora.newland", "Brazil", BRAZIL[2], "BR"),
        let_in("D-2 11:00:00", "tess.traveller", "Germany", FRANKFURT, "DE"),
        (
            "D-1 05:00:00",
            ACCOUNT,
            at("finn.fire"),
            "firewall_failed",
            "continent_blocked",
            "South America",
            BRAZIL[2],
            "BR",
        ),
    ],
    "signin-outdated-apps": [
        (ACCOUNT, at("otto.old"), "1Password for Windows", "81052010", "MBP-7", "MacOSX", 2, "D-12 05:00:00")
    ],
    "devices-added": [
        (
            "D-2 12:00:00",
            ACCOUNT,
            at("dev.newdevice"),
            at("dev.newdevice"),
            identifier("phone").lower(),
            TORONTO,
            "Canada",
            "Toronto",
        )
    ],
    "items-revealed-by-person": [(ACCOUNT, at("rev.ealer"), 3, 2, 4, "D-3 13:00:00", "D-3 13:05:00")],
    "items-exported-by-person": [
        (ACCOUNT, at("nina.nineteen"), vault("shared"), 19, "D-10 16:00:00", "D-10 16:38:00"),
        *sorted(
            [
                (ACCOUNT, at("bulk.exporter"), vault("vault 0"), 10, "D-10 15:00:00", "D-10 15:59:00"),
                (ACCOUNT, at("bulk.exporter"), vault("vault 1"), 10, "D-10 15:02:00", "D-10 15:38:00"),
            ]
        ),
        (ACCOUNT, at("ex.porter"), vault("finance"), 2, "D-15 14:00:00", "D-15 14:00:02.250000"),
        (ACCOUNT, at("ex.porter"), vault("legal"), 1, "D-16 14:00:00", "D-16 14:00:00"),
    ],
    "items-bulk-export": [(ACCOUNT, at("bulk.exporter"), "D-10 15:00:00", 20, 2, "1Password for Mac", TORONTO)],
    "items-bulk-reveal": [(ACCOUNT, at("bulk.revealer"), "D-12 15:00:00", 20, 1, "1Password for Mac", FRANKFURT)],
    "items-first-use-after-90-days": [
        ("D-3 09:00:00", ACCOUNT, item("forgotten"), vault("shared"), "fill", at("zoe.zander"), "D-100 09:00:00")
    ],
    "people-first-use-after-90-days": [
        (
            "D-2 09:00:00",
            ACCOUNT,
            at("rita.returned"),
            "fill",
            item("common"),
            vault("shared"),
            TORONTO,
            "D-105 09:00:00",
        )
    ],
    "items-used-by-external-users": [
        (ACCOUNT, "help@msp.example", None, "fill", vault("shared"), 1, 1, "D-9 10:01:00"),
        (ACCOUNT, "tech@msp.example", "MSPACCT7ZQ2LWXV4KHN5RBTDSE", "reveal", vault("shared"), 1, 2, "D-9 10:00:01"),
    ],
    "items-shared": [
        ("D-5 10:00:00", ACCOUNT, at("shay.sharer"), "share", item("shared"), vault("shared"), TORONTO),
        ("D-5 10:01:00", ACCOUNT, at("shay.sharer"), "delshare", item("shared"), vault("shared"), TORONTO),
    ],
    "vault-exports": [("D-5 10:10:00", ACCOUNT, at("vic.vaulter"), vault("finance"), TORONTO, "Canada", "Toronto")],
    "vault-access-granted": [
        (
            "D-5 10:20:00",
            ACCOUNT,
            at("ada.admin"),
            "grant",
            vault("finance"),
            "user",
            identifier("Nia New"),
            at("nia.new"),
            "1048690",
        ),
        ("D-5 10:21:00", ACCOUNT, at("ada.admin"), "update", vault("finance"), "group", GROUP, None, "1048690"),
    ],
    "group-changes": [
        ("D-5 10:30:00", ACCOUNT, at("greta.grouper"), "group", "create", GROUP, None, None),
        ("D-5 10:31:00", ACCOUNT, at("greta.grouper"), "gm", "join", GROUP, at("nia.new"), "manager"),
        ("D-5 10:32:00", ACCOUNT, at("greta.grouper"), "gm", "join", GROUP, at("leo.leaver"), "member"),
        ("D-5 10:33:00", ACCOUNT, at("greta.grouper"), "gm", "leave", GROUP, at("leo.leaver"), None),
    ],
    "security-settings-changed": [
        ("D-80 10:42:00", ACCOUNT, at("sam.settings"), "SSO", "enblsso", "sso", None, TORONTO),
        *(
            (f"D-5 12:0{minute}:00", ACCOUNT, at("sam.settings"), "MFA", action, "user", at("nia.new"), TORONTO)
            for minute, action in enumerate(SETTINGS)
        ),
        ("D-4 10:41:00", ACCOUNT, at("sam.settings"), "firewall", "updatfw", "account", None, TORONTO),
    ],
    "users-suspended-or-deleted": [
        (
            "D-5 10:50:00",
            ACCOUNT,
            at("sue.spender"),
            "suspend",
            identifier("Leo Leaver"),
            "Leo Leaver",
            at("leo.leaver"),
        ),
        (
            "D-4 10:51:00",
            ACCOUNT,
            at("sue.spender"),
            "reactive",
            identifier("Leo Leaver"),
            "Leo Leaver",
            at("leo.leaver"),
        ),
        (
            "D-4 10:53:00",
            ACCOUNT,
            at("sue.spender"),
            "delete",
            identifier("Leo Leaver"),
            "Leo Leaver",
            at("leo.leaver"),
        ),
    ],
    "account-recoveries": [
        ("D-5 11:00:00", ACCOUNT, at("rob.recovers"), "beginr", at("nia.new"), TORONTO, "Canada"),
        ("D-5 11:01:00", ACCOUNT, at("rob.recovers"), "cancelr", at("nia.new"), TORONTO, "Canada"),
        ("D-5 11:02:00", ACCOUNT, at("rob.recovers"), "completr", at("nia.new"), TORONTO, "Canada"),
    ],
    "invitations": [("D-5 11:10:00", ACCOUNT, at("ivy.inviter"), "create", "new@acme.example")],
    "service-account-use": [
        (ACCOUNT, "deploy-bot", identifier("deploy-bot"), "203.0.113.99", 3, 2, 1, "D-1 03:00:02"),
        (ACCOUNT, "deploy-bot", identifier("deploy-bot"), "198.51.100.9", 1, 1, 1, "D-2 03:00:00"),
        (ACCOUNT, "new-bot", identifier("new-bot"), "198.51.100.9", 1, 1, 1, "D-3 03:00:00"),
        (ACCOUNT, "young-bot", identifier("young-bot"), "203.0.113.98", 1, 1, 1, "D-2 03:00:00"),
    ],
    "service-account-from-new-address": [
        (ACCOUNT, "young-bot", identifier("young-bot"), "203.0.113.98", "D-2 03:00:00", 1),
        (ACCOUNT, "deploy-bot", identifier("deploy-bot"), "203.0.113.99", "D-1 03:00:00", 3),
    ],
    "service-accounts-and-tokens-changed": [
        ("D-5 11:20:00", ACCOUNT, at("tom.tokens"), "sa", "create", identifier("sa"), None, TORONTO),
        ("D-5 11:21:00", ACCOUNT, at("tom.tokens"), "satoken", "create", identifier("satoken"), "deploy", TORONTO),
        ("D-5 11:22:00", ACCOUNT, at("tom.tokens"), "satoken", "trevoke", identifier("satoken"), None, TORONTO),
    ],
    "everything-by-one-person": [
        (
            "D-2 14:00:00",
            "signin_attempts",
            ACCOUNT,
            "success",
            "mfa_ok",
            None,
            None,
            None,
            None,
            None,
            TORONTO,
            "1Password for Mac",
        ),
        (
            "D-2 14:01:00",
            "item_usages",
            ACCOUNT,
            "fill",
            None,
            "item",
            item("common"),
            None,
            vault("shared"),
            None,
            TORONTO,
            "1Password for Mac",
        ),
        ("D-2 14:02:00", "audit_events", ACCOUNT, "view", None, "report", REPORT, None, None, None, TORONTO, None),
    ],
    "everything-in-one-session": [
        ("D-3 17:00:00", "signin_attempts", ACCOUNT, at("sia.session"), "success", "mfa_ok", None, None, TORONTO),
        ("D-3 17:01:00", "audit_events", ACCOUNT, at("sia.session"), "view", None, "report", REPORT, None),
    ],
}


def events_by_day(company: Company, days: int) -> list[tuple]:
    """First three and fourth columns of events-by-day, counted from what was planted."""
    first = str(date.fromordinal(company.today.toordinal() - days + 1))
    counts = Counter((event["timestamp"][:10], feed, ACCOUNT) for feed, event in company.events)
    return sorted((*key, count) for key, count in counts.items() if key[0] >= first)


def quarantined_records() -> list[tuple]:
    return sorted((feed, reason, item) for feed, records in BAD_RECORDS.items() for item, reason in records)
