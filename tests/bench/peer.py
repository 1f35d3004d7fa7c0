#!/usr/bin/env python3
"""Measures another collector, which you have installed, as run.py measures ours.

    tests/bench/peer.py --name NAME [--env NAME=VALUE] -- COMMAND {url} {token} {folder}

{url}, {token} and {folder} (an empty one) are filled in, in the command and in
--env. One that knows events.1password.com alone meets the simulator there: it is
told of a proxy by HTTPS_PROXY, and of the proxy's CA by SSL_CERT_FILE and
REQUESTS_CA_BUNDLE. A collector that never ends is stopped once the simulator has
served every event and then nothing for --settle seconds, which are not counted.
Needs openssl, and `cargo build --release -p events-api-simulator`.
"""

import argparse
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request

from harness import COLUMNS, Process, Relay, fetch, folder, host, machine, row, simulator, table


HOST = "events.1password.com"


class Proxy(Relay):
    """A proxy that leads to the simulator, whatever host is asked for."""

    def __init__(self, target, path):
        self.ca, key = path / "ca.pem", path / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        command += ["-nodes", "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
        subprocess.run([*command, "-keyout", key, "-out", self.ca], check=True, capture_output=True)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self.ca, key)
        super().__init__(target)

    def serve(self, client):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = client.recv(1 << 12)
            if not more:
                return
            head += more
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        super().serve(self.tls.wrap_socket(client, server_side=True))

    def environment(self):
        proxy = dict.fromkeys(["HTTPS_PROXY", "https_proxy"], f"http://{self.address}")
        return proxy | dict.fromkeys(["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"], str(self.ca))


def mint(api):
    """A token as 1Password makes them, for the host of 1Password."""
    body = json.dumps({"audience": [HOST]}).encode()
    request = urllib.request.Request(f"{api['url']}/_sim/token", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["token"]


def once(options, relayed):
    with simulator(options.events, options.days, options.latency, record=True) as api, folder() as path:
        relay, token = Relay(host(api["url"])), mint(api)
        url = f"http://{relay.address}" if relayed else api["url"]
        private, lake = path / "private", path / "lake"
        for made in private, lake:
            made.mkdir()
        proxy = Proxy(host(api["url"]), private)

        def fill(text):
            return text.replace("{url}", url).replace("{token}", token).replace("{folder}", str(lake))

        given = {name: fill(value) for name, value in (entry.split("=", 1) for entry in options.env)}
        process = Process(map(fill, options.command), os.environ | proxy.environment() | given)
        seen = {}
        watch = threading.Thread(target=follow, args=[api, process, options, seen], daemon=True)
        watch.start()
        usage = process.wait()
        if seen.get("stopped"):
            usage.wall = seen["at"] - process.began
        elif usage.status != 0:
            sys.exit(f"the collector ended with {usage.status}:\n{process.written()}")
        served = sum(request["items"] for request in fetch(f"{api['url']}/_sim/requests"))
        if served < options.events:
            sys.exit(f"the collector has read {served} of {options.events} events:\n{process.written()}")
        return usage, [relay, proxy]


def follow(api, process, options, seen):
    """Stops the process once it has read everything."""
    requests = 0
    while process.launcher.poll() is None:
        asked = fetch(f"{api['url']}/_sim/requests")
        if len(asked) != requests:
            requests, seen["at"] = len(asked), time.monotonic()
        elif sum(request["items"] for request in asked) >= options.events:
            if time.monotonic() - seen["at"] > options.settle:
                seen["stopped"] = True
                os.kill(process.pid, signal.SIGTERM)
                return
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="peer")
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--latency", type=int, default=0, metavar="MS")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--settle", type=float, default=5, metavar="SECONDS")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    usages = [once(options, False)[0] for _ in range(options.runs)]
    relays = once(options, True)[1]
    print(f"{machine()}\n")
    print(table(COLUMNS.split("|"), [row(options.name, options.events, options.latency, usages, relays)]))


if __name__ == "__main__":
    main()
