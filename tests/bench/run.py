#!/usr/bin/env python3
"""Measures the programs and the pipeline, and writes the table of docs/benchmarks.md.

Run by `make bench`, which has built the programs and started the local stack.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from harness import BENCH, COLUMNS, PROGRAMS, ROOT, STACK, SYMBOLS, TARGET
from harness import Process, Relay, RuntimeApi, Stack
from harness import commit, folder, host, machine, row, run, simulator, spread, table

DOCUMENT = ROOT / "docs/benchmarks.md"
BEGIN, END = "<!-- what follows is written by make bench -->", "<!-- until here -->"
IDLE = 20
FEEDS = "signin_attempts,item_usages,audit_events"
# Of 60,000 events, those of the longest stream; a page holds 1,000.
LONGEST = 38
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


class Folder:
    """`oplake collect` into a folder."""

    name = "`oplake collect`, folder"

    def __init__(self, api, feeds=FEEDS):
        self.api, self.feeds = api, feeds
        self.exits = contextlib.ExitStack()
        self.path = self.exits.enter_context(folder())

    def command(self, url):
        places = ["--archive", self.path / "lake", "--checkpoints", self.path / "lake.sqlite"]
        return self.collect(url, places)

    def collect(self, url, places):
        token = self.path / "token"
        token.write_text(self.api["token"])
        source = ["--api-url", url, "--token-file", token, "--feeds", self.feeds]
        return [PROGRAMS / "oplake", "collect", "--since", "119d", *places, *source]

    def run(self, relays=()):
        """One run in a process of its own."""
        url = f"http://{relays[0].address}" if relays else self.api["url"]
        return run(self.command(url), ENVIRONMENT)

    def relays(self):
        return [Relay(host(self.api["url"]))]

    def close(self):
        self.exits.close()


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
        return run(self.collect(url, places), ENVIRONMENT | aws)

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
        }
        return Process([PROGRAMS / "collector"], settings | aws)

    def run(self, relays=()):
        with contextlib.closing(RuntimeApi()) as runtime:
            process = self.start(runtime, relays)
            ended = runtime.invoke()
            usage = process.stop()
            usage.wall = ended - process.began
            return usage


def collections(way, events, runs, days=30, latency=0, feeds=FEEDS, note=""):
    """A line of the table for whole collections."""
    with simulator(events, days, latency) as api:

        def once(relayed):
            with contextlib.closing(way(api, feeds)) as place:
                relays = place.relays() if relayed else []
                usage = place.run(relays)
                for relay in relays:
                    relay.close()
                return usage, relays

        usages = [once(False)[0] for _ in range(runs)]
        relays = once(True)[1]
    count = events * 62 // 100 if feeds != FEEDS else events
    line = row(way.name + note, count, latency, usages, relays)
    print(" | ".join(line), file=sys.stderr, flush=True)
    return line, usages


def idle(way, runs):
    """A line for runs that find nothing new, each in a new process."""
    with simulator(1000, days=1) as api, contextlib.closing(way(api)) as place:
        place.run()
        usages = [place.run() for _ in range(runs)]
        relays = place.relays()
        place.run(relays)
    return row(way.name + ", nothing new", 0, 0, usages, relays)


def starts(runs):
    """How long a new process takes to its first poll, and to the API's first byte."""
    polls, bytes_ = [], []
    with simulator(1000, days=1) as api, contextlib.closing(Function(api)) as place:
        place.run()
        for _ in range(runs):
            with contextlib.closing(RuntimeApi()) as runtime:
                relays = place.relays()
                process = place.start(runtime, relays)
                runtime.invoke()
                process.stop()
                polls.append((runtime.polls[0] - process.began) * 1000)
                bytes_.append((relays[0].first - process.began) * 1000)
    return spread(polls, "{:.1f}"), spread(bytes_, "{:.1f}")


def warm():
    """Milliseconds of time and of CPU of an idle invocation of a process that is there."""
    ticks = os.sysconf("SC_CLK_TCK")
    with simulator(1000, days=1) as api, contextlib.closing(Function(api)) as place:
        with contextlib.closing(RuntimeApi()) as runtime:
            process = place.start(runtime)
            runtime.invoke()

            def cpu():
                fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / ticks

            before, walls = cpu(), []
            for _ in range(IDLE):
                began = time.monotonic()
                walls.append((runtime.invoke() - began) * 1000)
            used = (cpu() - before) / IDLE * 1000
            process.stop()
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small run of each, to try this program; writes nothing")
    options = parser.parse_args()
    small, large, runs, few = (3_000, 20_000, 1, 1) if options.quick else (60_000, 1_000_000, 5, 3)
    load = os.getloadavg()[0]
    parts = []

    rows, function = [], {}
    rows += [collections(way, small, runs)[0] for way in (Folder, S3)]
    for latency in [0, 50] if options.quick else [0, 50, 150]:
        line, function[latency] = collections(Function, small, runs, latency=latency)
        rows.append(line)
    rows.append(collections(Function, small, runs, days=119, note=", 119 days")[0])
    line, alone = collections(Function, small, runs, latency=150, feeds="item_usages", note=", item usages alone")
    rows.append(line)
    for way in Folder, S3, Function:
        line, large_ones = collections(way, large, few)
        rows.append(line)
    rows += [idle(way, runs) for way in (Folder, S3, Function)]
    parts.append(table(COLUMNS.split("|"), rows))

    polls, first = starts(3 if options.quick else 25)
    wall, cpu = warm()
    megabytes, built = package()
    steps, summary = pipeline()
    ratio = "{median:.3f} ({min:.3f} to {max:.3f})".format(**summary["ratio"])
    peak = spread([usage.mib for usage in large_ones], "{:.1f}")
    pages = statistics.median(usage.wall for usage in alone) / LONGEST / 0.15
    facts = [
        [f"CPU of the function for {small:,} events, s", spread([usage.cpu for usage in function[0]]), "<= 0.6"],
        [f"peak memory of the function, {large:,} events, MiB", peak, "<= 64"],
        ["pipeline over limit, in one process and in turn", ratio, ">= 0.85"],
        ["start of the process to the first poll, ms", polls, "<= 40"],
        ["start of the process to the first byte at the Events API, ms", first, ""],
        [f"an idle invocation of a process that is there ({IDLE}), ms", wall, ""],
        ["of that, CPU, ms", cpu, ""],
        [f"one stream at 150 ms, over {LONGEST} pages of 150 ms", f"{pages:.3f}", "<= 1.05"],
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

    head = (
        f"`make bench` at {commit()} on {time.strftime('%Y-%m-%d')}: {machine()}. The load of the machine was "
        f"{load:.1f} before and {os.getloadavg()[0]:.1f} after."
    )
    text = "\n\n".join([head, *parts])
    print(text)
    if not options.quick:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
