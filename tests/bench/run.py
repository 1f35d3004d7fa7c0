#!/usr/bin/env python3
"""Measures the programs and the pipeline, and writes the table of docs/benchmarks.md.

Run by `make bench`, which has built the programs and started the local stack.
"""

import argparse
import contextlib
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from harness import BENCH, COLUMNS, PROGRAMS, ROOT, STACK, SYMBOLS, TARGET
from harness import Process, Relay, RuntimeApi, Stack
from harness import commit, each, folder, host, machine, row, run, simulator, spread, table

DOCUMENT = ROOT / "docs/benchmarks.md"
BEGIN, END = "<!-- what follows is written by make bench -->", "<!-- until here -->"
IDLE = 20
# Of the three streams, item usages are the longest: 62 of 100 events.
FEEDS, LONGEST = "signin_attempts,item_usages,audit_events", "item_usages"
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


class Folder:
    """`oplake collect` into a folder."""

    name = "`oplake collect`, folder"
    task = ["collect", "--since", "120d"]

    def __init__(self, api, feeds=FEEDS):
        self.api, self.feeds = api, feeds
        self.exits = contextlib.ExitStack()
        self.path = self.exits.enter_context(folder())

    def run(self, relays=()):
        """One run in a process of its own."""
        url = f"http://{relays[0].address}" if relays else self.api["url"]
        places = ["--archive", self.path / "lake", "--checkpoints", self.path / "lake.sqlite"]
        return self.oplake(url, places, ENVIRONMENT)

    def oplake(self, url, places, environment):
        token = self.path / "token"
        token.write_text(self.api["token"])
        source = ["--api-url", url, "--token-file", token, "--feeds", self.feeds]
        usage, written = run([PROGRAMS / "oplake", *self.task, *places, *source, "--json"], environment)
        usage.events = events(re.search("^{.*", written, re.MULTILINE)[0])
        return usage

    def relays(self):
        return [Relay(host(self.api["url"]))]

    def close(self):
        self.exits.close()


class Backfill(Folder):
    """`oplake backfill` into a folder, where nothing is yet."""

    name = "`oplake backfill`, folder"
    task = ["backfill", "--from", "120d"]


class S3(Folder):
    """`oplake collect` into a bucket, with its checkpoints in a table."""

    name = "`oplake collect`, S3 and DynamoDB"

    def __init__(self, api, feeds=FEEDS):
        super().__init__(api, feeds)
        self.stack = Stack(api["token"])
        self.exits.callback(self.stack.remove)

    def run(self, relays=()):
        url, aws = self.ways(relays)
        places = ["--archive", f"s3://{self.stack.bucket}"]
        places += ["--checkpoints", f"dynamodb://{self.stack.table}"]
        return self.oplake(url, places, ENVIRONMENT | aws)

    def ways(self, relays):
        if not relays:
            return self.api["url"], self.stack.environment()
        return f"http://{relays[0].address}", self.stack.environment(relays[1])

    def relays(self):
        return [*super().relays(), Relay(STACK)]


class Function(S3):
    """The Lambda function, in a new process, invoked once."""

    name = "the function"

    def start(self, runtime, relays=()):
        url, aws = self.ways(relays)
        settings = {
            "TOKEN_SECRET_ARN": self.stack.secret,
            "ARCHIVE_BUCKET": self.stack.bucket,
            "CHECKPOINT_TABLE": self.stack.table,
            "EVENTS_API_URL": url,
            "FEEDS": self.feeds,
            "LOOKBACK_DAYS": "120",
            "AWS_LAMBDA_RUNTIME_API": runtime.address,
            "AWS_LAMBDA_FUNCTION_NAME": "collector",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/collector",
            "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
            # As the template has it.
            "MALLOC_MMAP_THRESHOLD_": "1048576",
        }
        return Process([PROGRAMS / "collector"], settings | aws)

    def run(self, relays=()):
        with contextlib.closing(RuntimeApi()) as runtime, self.start(runtime, relays) as process:
            ended, answer = runtime.invoke(process)
            usage = process.stop()
            usage.wall, usage.events = ended - process.began, events(answer)
            return usage


def events(report):
    return sum(stream["events"] for stream in json.loads(report)["streams"])


@dataclass(eq=False)
class Line:
    """A line of the table: whole collections, each in a place of its own."""

    way: type
    events: int
    runs: int
    days: int = 30
    latency: int = 0
    feeds: str = FEEDS
    beside: bool = False

    def __post_init__(self):
        self.name = self.way.name
        if self.days != 30:
            self.name += f", {self.days} days"
        if self.feeds == LONGEST:
            self.name += ", item usages alone"
        self.count = self.events * 62 // 100 if self.feeds == LONGEST else self.events

    def measure(self):
        with simulator(self.events, self.days, self.latency) as api:
            self.take(lambda: contextlib.closing(self.way(api, self.feeds)))

    def take(self, place):
        """Takes what is measured of the runs, and what is counted in one more."""

        def once(relayed):
            with place() as there:
                relays = there.relays() if relayed else []
                usage = there.run(relays)
            for relay in relays:
                relay.close()
            if usage.events != self.count:
                sys.exit(f"{self.name}: {usage.events:,} events were collected of {self.count:,}")
            return usage, relays

        *measured, (_, self.relays) = each(once, [False] * self.runs + [True], self.beside)
        self.usages = [usage for usage, _ in measured]

    def row(self):
        return row(self.name, self.count, self.latency, self.usages, self.relays)

    def median(self, what):
        return statistics.median(getattr(usage, what) for usage in self.usages)


class Idle(Line):
    """A line of the table: runs that find nothing new, each in a new process."""

    def __init__(self, way, runs):
        super().__init__(way, 0, runs)
        self.name += ", nothing new"

    def measure(self):
        with simulator(1000, days=1) as api, contextlib.closing(self.way(api)) as place:
            place.run()
            self.take(lambda: contextlib.nullcontext(place))


def starts(runs):
    """How long a new process takes to its first poll, and to the API's first byte."""
    polls, bytes_ = [], []
    with simulator(1000, days=1) as api, contextlib.closing(Function(api)) as place:
        place.run()
        for _ in range(runs):
            with contextlib.closing(RuntimeApi()) as runtime:
                relays = place.relays()
                with place.start(runtime, relays) as process:
                    runtime.invoke(process)
                polls.append((runtime.polls[0] - process.began) * 1000)
                bytes_.append((relays[0].first - process.began) * 1000)
    return spread(polls, "{:.1f}"), spread(bytes_, "{:.1f}")


def warm():
    """Milliseconds of time and of CPU of an idle invocation of a process that is there."""
    ticks = os.sysconf("SC_CLK_TCK")
    with simulator(1000, days=1) as api, contextlib.closing(Function(api)) as place:
        with contextlib.closing(RuntimeApi()) as runtime, place.start(runtime) as process:
            runtime.invoke(process)

            def cpu():
                fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / ticks

            before, walls = cpu(), []
            for _ in range(IDLE):
                began = time.monotonic()
                ended, _ = runtime.invoke(process)
                walls.append((ended - began) * 1000)
            used = (cpu() - before) / IDLE * 1000
    return spread(walls, "{:.1f}"), f"{used:.1f}"


def package():
    """The function's zip: its bytes, and of what it is."""
    built = ROOT / ".aws-sam/build/CollectorFunction/bootstrap"
    program, name = (built, "`make build`") if built.exists() else (PROGRAMS / "collector", "`cargo build --release`")
    with folder() as path:
        with zipfile.ZipFile(path / "zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.write(program, "bootstrap")
        return (path / "zip").stat().st_size / 1e6, name


def pipeline():
    """The benchmarks of criterion: (name, MB/s, seconds) of each, and the summary."""
    began = time.time()
    environment = os.environ | SYMBOLS
    done = subprocess.run(BENCH, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    found = []
    for path in TARGET.glob("criterion/*/*/new/estimates.json"):
        if path.stat().st_mtime > began:
            estimate = json.loads(path.read_text())["median"]
            what = json.loads(path.with_name("benchmark.json").read_text())
            bounds = estimate["confidence_interval"]
            bytes_ = what["throughput"]["Bytes"]
            rates = [bytes_ / at * 1e3 for at in (bounds["upper_bound"], bounds["lower_bound"])]
            line = [bytes_ / estimate["point_estimate"] * 1e3, *rates, estimate["point_estimate"] / 1e9]
            found.append((path.stat().st_mtime, what["group_id"], what["function_id"], line))
    return [entry[1:] for entry in sorted(found)], summary


def say(text):
    print(text, file=sys.stderr, flush=True)


def main():
    # So that what runs is ended, as by an interrupt.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small run of each, to try this program; writes nothing")
    options = parser.parse_args()
    small, medium, large, huge, runs, few = 60_000, 300_000, 1_000_000, 5_000_000, 5, 3
    if options.quick:
        small, medium, large, huge, runs, few = 3_000, 6_000, 20_000, 40_000, 1, 1
    head = (
        f"`make bench` at {commit()} on {time.strftime('%Y-%m-%d')}: {machine()}. The load of the machine was "
        f"{os.getloadavg()[0]:.1f} before"
    )

    function = {latency: Line(Function, small, runs, latency=latency) for latency in (0, 50, 150)}
    alone = Line(Function, small, runs, latency=150, feeds=LONGEST)
    million = Line(Function, large, runs, beside=True)
    millions = Line(Function, huge, few, beside=True)
    # One page after the other, and several at once.
    slow = {"days": 119, "latency": 500, "feeds": LONGEST, "beside": True}
    pages, windows = (Line(way, medium, runs, **slow) for way in (Folder, Backfill))
    # What is in a group goes beside each other.
    groups = [
        *([Line(way, small, runs)] for way in (Folder, S3)),
        *([line] for line in function.values()),
        [Line(Function, small, runs, days=119)],
        [alone],
        *([Line(way, large, runs, beside=True)] for way in (Folder, S3)),
        [million],
        [millions, Line(Backfill, huge, few, days=119, beside=True)],
        [pages, windows],
        *([Idle(way, runs)] for way in (Folder, S3, Function)),
    ]
    lines = [line for group in groups for line in group]
    say(f"the whole takes about {5 if options.quick else 30} minutes; first, the pipeline")
    # Something else may not compile: better now than in the end.
    steps, summary = pipeline()
    for group in groups:
        for line in group:
            say(f"line {lines.index(line) + 1} of {len(lines)}: {line.name}, {line.count:,} events, {line.latency} ms")
        each(lambda line: line.measure(), group, beside=True)
        for line in group:
            say(" | ".join(line.row()))
    parts = [table(COLUMNS.split("|"), [line.row() for line in lines])]

    say("the start of the function, and its idle invocations")
    polls, first = starts(3 if options.quick else 25)
    wall, cpu = warm()
    megabytes, built = package()
    ratio = "{median:.3f} ({min:.3f} to {max:.3f})".format(**summary["ratio"])
    peak = spread([usage.mib for usage in million.usages], "{:.1f}")
    growth = millions.median("mib") - function[0].median("mib")
    # A page holds 1,000.
    longest = math.ceil(alone.count / 1000)
    over_pages = alone.median("wall") / longest / 0.15
    over_alone = function[150].median("wall") / alone.median("wall")
    asked = windows.relays[0].requests["Events API"] * 60
    facts = [
        [f"CPU of the function for {small:,} events, s", spread([usage.cpu for usage in function[0].usages]), "<= 0.6"],
        [f"peak memory of the function, {large:,} events, MiB", peak, "<= 64"],
        [f"growth of peak memory of the function from {small:,} to {huge:,} events, MiB", f"{growth:.1f}", ""],
        ["pipeline over limit, in one process and in turn", ratio, ">= 0.85"],
        ["start of the process to the first poll, ms", polls, "<= 40"],
        ["start of the process to the first byte at the Events API, ms", first, ""],
        [f"an idle invocation of a process that is there ({IDLE}), ms", wall, ""],
        ["of that, CPU, ms", cpu, ""],
        [f"one stream at 150 ms, over {longest} pages of 150 ms", f"{over_pages:.3f}", "<= 1.05"],
        ["three streams at 150 ms, over the longest of them alone", f"{over_alone:.3f}", "1"],
        [
            "requests a minute of a backfill of item usages at 500 ms, of 400 that it may make",
            spread([asked / usage.wall for usage in windows.usages], "{:.0f}"),
            "",
        ],
        [f"zip of the function by {built}, MB", f"{megabytes:.2f}", "<= 6"],
    ]
    parts.append(table(["what", "measured", "budget"], facts))

    form = "{:,.0f} ({:,.0f} to {:,.0f})".format
    per_event = summary["events"] / 1e9
    lines = [
        [name, form(*line[:3]), f"{line[3] / per_event:,.0f}"] for group, name, line in steps if group == "step"
    ]
    parts.append(table(["step, all of it on one core", "MB/s", "ns per event"], lines))
    lines = [
        [name, form(*line[:3]), "{:.2f}".format(summary["bytes"] / summary["gzip"][name])]
        for group, name, line in steps
        if group == "gzip"
    ]
    parts.append(table(["gzip level", "MB/s", "ratio"], lines))

    text = "\n\n".join([f"{head} and {os.getloadavg()[0]:.1f} after.", *parts])
    print(text)
    if not options.quick:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
