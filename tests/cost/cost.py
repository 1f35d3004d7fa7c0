#!/usr/bin/env python3
"""What the application costs: the prices of prices.json, times what counts.json,
the templates and the assumptions below say. Prints the tables of docs/cost.md;
`--write` writes them there.
"""

import json
import math
import re
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DOCUMENT = ROOT / "docs/cost.md"
BEGIN, END = "<!-- what follows is written by tests/cost/cost.py -->", "<!-- until here -->"

PRICES = json.loads((HERE / "prices.json").read_text())["prices"]
COUNTS = json.loads((HERE / "counts.json").read_text())
TEMPLATE = (ROOT / "template.yaml").read_text()
CONSUMER = (ROOT / "infra/siem/consumer.yaml").read_text()


def setting(name):
    """A number in the template."""
    return int(re.search(rf"^ +{name}: (\d+)", TEMPLATE, re.MULTILINE)[1])


# Assumed or computed, not counted.
SHARES = {"signin_attempts": 0.18, "item_usages": 0.62, "audit_events": 0.20}
DAYS = 30  # in a month
LATENCY = 0.15  # seconds that the Events API takes for a page
S3_LATENCY = 0.03  # seconds that S3 takes to begin an object
OVERHEAD = 0.2  # seconds of a run for connections, DynamoDB and S3
MEMORY = setting("MemorySize") / 1024  # GB
VCPU = setting("MemorySize") / 1769  # Lambda gives a whole one at 1,769 MB
# Seconds of a core, seen with the release build on the machine of docs/cost.md:
IDLE_CPU = 5e-3  # for a run
EVENT_CPU = 17e-6  # for an event that is collected
REREAD_CPU, LAKE_CPU = 12e-6, 2e-6  # for one that a resync reads, from the API and the lake
PAGE = 1000  # events
RESYNC_BURST, RESYNC_PACE = 20, 2  # pages at once, then a second
RESERVE = 30  # seconds before its timeout at which a run stops to read
NAMES = 300  # bytes by which AWS's names and upload ids are longer than the local stack's
PLATFORM_LOG = 1000  # bytes that Lambda itself logs of a run
NOTIFICATION = 1000  # bytes of S3's message
READERS = 8  # objects that a resync reads at once

# Runs a month, and what they look at: hours back, and the hours of the day at
# which they start.
RUNS = DAYS * 24 * 12
RESYNCS = [
    (DAYS * 24, 6, range(24)),
    (DAYS, 3 * 24, [2.7]),
    (DAYS / 7, 14 * 24, [3.2]),
    (1, 120 * 24, [4.2]),
]
RESYNC_RUNS = sum(runs for runs, _, _ in RESYNCS)
# Remembered for 15 minutes; a resync may run in another environment.
SECRETS = RUNS / 3 + RESYNC_RUNS
STREAMS = len(SHARES)


def asks(what):
    """Requests that are made for each of these."""
    return sum(COUNTS["requests"][what].values())


def units(size, staged=1):
    """Capacity units of a row, by the bytes of a unit."""
    return math.ceil((COUNTS["row_bytes"] + staged * COUNTS["staged_bytes"] + NAMES) / size)


def price(name, quantity):
    return quantity * PRICES[name]["usd"] / PRICES[name]["per"]


def resources(template, kind):
    return len(re.findall(rf"^    Type: {kind}$", template, re.MULTILINE))


def object_bytes(feed, events):
    """Size of an object with so many events, between those that were measured."""
    table = [(int(at), size) for at, size in COUNTS["object_bytes"][feed].items()]
    events = max(events, 1)
    for (low, small), (high, large) in zip(table, table[1:]):
        if events <= high or high == table[-1][0]:
            slope = math.log(large / small) / math.log(high / low)
            return small * (events / low) ** slope


class Month:
    """What a month at so many events a day uses."""

    def __init__(self, events):
        self.events = events
        # Events that come evenly, at random, are the dearest: they fall into
        # the most runs.
        runs = RUNS / DAYS
        daily = {feed: events * share for feed, share in SHARES.items()}
        self.objects_a_day = {feed: runs * -math.expm1(-of / runs) for feed, of in daily.items()}
        self.objects = DAYS * sum(self.objects_a_day.values())
        self.gigabytes = sum(
            DAYS * objects * object_bytes(feed, daily[feed] / objects) / 1e9
            for feed, objects in self.objects_a_day.items()
            if objects
        )
        self.resyncs(daily)
        self.seconds = RUNS * (OVERHEAD + IDLE_CPU / VCPU) + DAYS * events * EVENT_CPU / VCPU
        largest = max(daily.values()) / runs
        self.seconds += RUNS * LATENCY * max(1, math.ceil(largest / PAGE))
        self.seconds += self.resync_seconds

    def resyncs(self, daily):
        self.lists = self.gets = self.resync_seconds = self.long_runs = 0
        for runs, hours, starts in RESYNCS:
            for start in starts:
                lists, gets, seconds = self.resync(daily, hours, start)
                weight = runs / len(starts)
                self.lists += weight * lists
                self.gets += weight * gets
                self.resync_seconds += weight * seconds
            if hours > 24:
                self.long_runs += runs
        # What does not end in its time is left to the next run.
        self.fits = min(1, RESYNC_RUNS * (setting("Timeout") - RESERVE) / self.resync_seconds)
        self.resync_seconds *= self.fits

    def resync(self, daily, hours, start):
        """LIST and GET requests and seconds of a run that finds nothing."""
        # The hours of each day of the window, today being the last; and what
        # there is of a day by now.
        today = min(hours, start)
        chunks = [(today, start / 24)] if today else []
        while (left := hours - sum(of for of, _ in chunks)) > 1e-6:
            chunks.append((min(left, 24), 1))
        lists = gets = pages = cpu = wait = 0
        for feed, events in daily.items():
            objects = self.objects_a_day[feed]
            # An event within a second of midnight has the neighbour read too.
            over = -math.expm1(-events / 86400)
            scans = sum(there for _, there in chunks)
            scans += over * sum(a + b for (_, a), (_, b) in zip(chunks, chunks[1:]))
            looks = (len(chunks) + over * 2 * (len(chunks) - 1)) * min(1, objects)
            lists += len(chunks) * asks("chunk") + looks * asks("day")
            gets += scans * objects * asks("object_read")
            read = [max(1, math.ceil(of / 24 * events / PAGE)) for of, _ in chunks]
            pages += sum(read)
            wait = max(wait, sum(read) * LATENCY + scans * objects / READERS * S3_LATENCY)
            cpu += hours / 24 * events * REREAD_CPU + scans * events * LAKE_CPU
        paced = max(0, pages - RESYNC_BURST) / RESYNC_PACE
        return lists, gets, OVERHEAD + max(paced, wait) + (IDLE_CPU + cpu) / VCPU

    def writes(self):
        """PutItem calls; each writes the row as it is with what is staged."""
        busy = self.objects * (asks("batch") + asks("stream_with_events"))
        idle = sum(4 * DAYS * math.exp(-of / 4) for of in self.objects_a_day.values())
        long = STREAMS * self.long_runs
        return busy + idle * asks("six_idle_hours") + long * asks("long_resync")

    def logs(self):
        """GB that are logged."""
        bytes_ = COUNTS["log_bytes"]
        line = max(bytes_["idle"], bytes_["collected"]) + PLATFORM_LOG
        return (RUNS * line + RESYNC_RUNS * (bytes_["resync"] + PLATFORM_LOG)) / 1e9

    def lines(self):
        """Service, what, price, quantity."""
        runs = RUNS + RESYNC_RUNS
        row = STREAMS * (COUNTS["row_bytes"] + NAMES) / 1e9
        return [
            ("Lambda", "requests", "lambda_request", runs),
            ("Lambda", "GB-s, x86_64", "lambda_x86_64", self.seconds * MEMORY),
            ("S3", "writes of objects", "s3_put", self.objects * asks("object")),
            ("S3", "LIST of resyncs", "s3_put", self.lists),
            ("S3", "GET of resyncs", "s3_get", self.gets),
            ("S3", "storage, GB, first month", "s3_storage", self.gigabytes),
            ("DynamoDB", "read units", "dynamodb_read", STREAMS * runs * asks("stream") * units(4096)),
            ("DynamoDB", "write units", "dynamodb_write", self.writes() * units(1024)),
            ("DynamoDB", "storage, GB", "dynamodb_storage", row),
            ("DynamoDB", "point-in-time recovery, GB", "dynamodb_pitr", row),
            ("KMS", "requests of DynamoDB, at most", "kms_request", runs),
            ("Secrets Manager", "secret", "secret", 1),
            ("Secrets Manager", "reads", "secret_read", SECRETS * asks("secret")),
            ("Scheduler", "invocations", "schedule", runs),
            ("SNS", "publications by S3", "sns_publish", self.objects),
            ("CloudWatch", "custom metrics", "metric", COUNTS["metrics"]),
            ("CloudWatch", "alarms", "alarm", resources(TEMPLATE, "AWS::CloudWatch::Alarm")),
            ("CloudWatch", "composite alarm", "composite_alarm", resources(TEMPLATE, "AWS::CloudWatch::CompositeAlarm")),
            ("CloudWatch", "dashboard", "dashboard", resources(TEMPLATE, "AWS::CloudWatch::Dashboard")),
            ("CloudWatch", "logs, GB", "log_ingestion", self.logs()),
            ("CloudWatch", "logs kept, GB", "log_storage", self.logs() * setting("RetentionInDays") / DAYS),
        ]

    def arm_saves(self):
        used = self.seconds * MEMORY
        return price("lambda_x86_64", used) - price("lambda_arm64", used)

    def key(self):
        """With a key of the customer's, as if the bucket had no bucket key."""
        requests = self.objects * asks("object") + self.gets + SECRETS
        return [("kms_key", 1), ("kms_request", requests)]

    def consumer(self):
        """A SIEM with a queue for each feed, which it polls without a pause."""
        polls = STREAMS * DAYS * 86400 / 20
        # Delivered, received, deleted.
        requests = self.objects * 3 + polls
        filtered = STREAMS * self.objects * NOTIFICATION / 1e9
        return [
            ("sqs_request", requests),
            ("sns_filter", filtered),
            ("s3_get", self.objects),
            ("alarm", resources(CONSUMER, "AWS::CloudWatch::Alarm")),
        ]

    def dashboard(self):
        return [("log_query", 100 * self.logs() / DAYS * TEMPLATE.count('"type":"log"'))]


def number(value):
    if value >= 100 or value == round(value):
        return f"{value:,.0f}"
    return "<0.01" if value < 0.01 else f"{value:.2g}" if value < 1 else f"{value:.1f}"


def usd(value):
    return "<0.01" if 0 < value < 0.005 else f"{value:.2f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


VOLUMES = [0, 1_000, 100_000, 10_000_000]
MONTHS = [Month(events) for events in VOLUMES]
HEADS = ["idle", *(f"{events:,} a day" for events in VOLUMES[1:])]


def prices():
    rows = []
    for name, of in PRICES.items():
        free = number(of["free"]) if of["free"] else "–"
        page = of["page"].removeprefix("https://").rstrip("/")
        per = "" if of["per"] == 1 else f"{number(of['per'])} × "
        rows.append([f"`{name}`", f"{of['usd']:.10f}".rstrip("0").rstrip("."), per + of["unit"], free, f"[{page}]({of['page']})"])
    return table(["price", "USD", "for", "free a month", "page"], rows)


def bill():
    """Every line: quantity, and what it costs."""
    rows = []
    for lines in zip(*(month.lines() for month in MONTHS)):
        service, what, name, _ = lines[0]
        cells = [f"{number(of)} = {usd(price(name, of))}" for *_, of in lines]
        rows.append([f"{service}: {what}", *cells])
    rows.append(["**a month**", *(f"**{usd(total(month))}**" for month in MONTHS)])
    free = (usd(total(month, free=True)) for month in MONTHS)
    rows.append(["less what AWS gives each account free", *free])
    arm = (usd(total(month) - month.arm_saves()) for month in MONTHS)
    rows.append(["on arm64", *arm])
    later = (usd(total(month) + 11 * price("s3_storage", month.gigabytes)) for month in MONTHS)
    rows.append(["twelfth month, all events kept", *later])
    year = (usd(12 * total(month) + 66 * price("s3_storage", month.gigabytes)) for month in MONTHS)
    rows.append(["first year", *year])
    return table(["a month, USD", *HEADS], rows)


def total(month, free=False):
    used = Counter()
    for _, _, name, quantity in month.lines():
        used[name] += quantity
    if free:
        used = {name: max(0, of - PRICES[name]["free"]) for name, of in used.items()}
    return sum(price(name, of) for name, of in used.items())


def work():
    """What the quantities above come from."""
    rows = [
        ["objects a month", *(number(month.objects) for month in MONTHS)],
        ["events in an object", *(number(month.events * DAYS / month.objects) if month.objects else "–" for month in MONTHS)],
        ["bytes in an object", *(number(month.gigabytes * 1e9 / month.objects) if month.objects else "–" for month in MONTHS)],
        ["seconds of a collection", *(number((month.seconds - month.resync_seconds) / RUNS) for month in MONTHS)],
        ["seconds of a resync, mean", *(number(month.resync_seconds / RESYNC_RUNS) for month in MONTHS)],
        ["of what resyncs are to read, fits into their time", *(f"{month.fits:.0%}" for month in MONTHS)],
    ]
    return table(["computed", *HEADS], rows)


def limit():
    """How many events a day the resyncs can read."""
    low, high = 1e3, 1e7
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if Month(middle).fits == 1 else (low, middle)
    return (
        f"Up to about {round(low, -4):,.0f} events a day, all of it fits. Beyond, a resync takes up what earlier ones have\n"
        "left, oldest first, and late events come later or not at all: the tail is not affected."
    )


def options():
    """What is added by what is switched on or attached."""
    rows = []
    for what, lines in [
        ("a key of yours (`KmsKeyArn`), at most", Month.key),
        ("a SIEM: three queues, filters, alarms", Month.consumer),
        ("the same, outside of AWS: bytes that leave", lambda month: [("egress", month.gigabytes)]),
        ("the dashboard, opened 100 times over a day of logs", Month.dashboard),
        ("a NAT gateway, if `Vpc` needs one", lambda _: [("nat_hour", DAYS * 24)]),
    ]:
        rows.append([what, *(usd(sum(price(*line) for line in lines(month))) for month in MONTHS)])
    return table(["added a month, USD", *HEADS], rows)


def queries():
    rows = []
    for what, days in [("a feed, 7 days", 7), ("all feeds, 7 days", 21), ("a feed, 180 days", 180)]:
        cells = []
        for month in MONTHS[1:]:
            objects = days * month.objects / DAYS / STREAMS
            megabytes = max(10, days * month.gigabytes * 1000 / DAYS / STREAMS)
            cost = price("athena", megabytes) + price("s3_get", objects) + price("s3_put", days)
            cells.append(f"{number(objects)} GET, {number(megabytes)} MB = {cost:.4f}")
        rows.append([what, *cells])
    return table(["a query, USD", *HEADS[1:]], rows)


def million():
    """A backlog of a million events, spread over 120 days, collected at once."""
    events, days = 1e6, 120
    batches = sum(max(days / 16, events * share / 82_000) for share in SHARES.values())
    objects = STREAMS * days + batches
    size = sum(days * object_bytes(feed, events * share / days) for feed, share in SHARES.items()) / 1e9
    seconds = max(SHARES.values()) * events / PAGE * LATENCY + events * EVENT_CPU / VCPU
    lines = [
        ("Lambda: GB-s, x86_64", "lambda_x86_64", seconds * MEMORY),
        ("S3: writes of objects", "s3_put", objects * asks("object")),
        ("DynamoDB: write units", "dynamodb_write", batches * units(1024, staged=16)),
        ("SNS: publications by S3", "sns_publish", objects),
        ("S3: storage, GB, a month", "s3_storage", size),
    ]
    rows = [[what, number(quantity), f"{price(name, quantity):.4f}"] for what, name, quantity in lines]
    rows.append(["**together**", "", f"**{sum(price(name, of) for _, name, of in lines):.4f}**"])
    return table(["a million events", "quantity", "USD"], rows)


def text():
    parts = [
        ("## The bill", bill()),
        ("## What it comes from", f"{work()}\n\n{limit()}"),
        ("## What may be added", options()),
        ("## A query with Athena", queries()),
        ("## A million events at once", million()),
        ("## Prices", prices()),
    ]
    return "\n\n".join(f"{head}\n\n{body}" for head, body in parts)


def parts(document):
    """The document before, between and after the marks."""
    before, _, rest = document.partition(BEGIN)
    between, _, after = rest.partition(END)
    return before, between, after


def main():
    if sys.argv[1:] == ["--write"]:
        before, _, after = parts(DOCUMENT.read_text())
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text()}\n\n{END}{after}")
    else:
        print(text())


if __name__ == "__main__":
    main()
