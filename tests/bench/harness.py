"""What the benchmarks share: processes that are measured, and what they talk to.

The standard library alone: what is installed must not decide what is measured.
"""

import contextlib
import hashlib
import hmac
import json
import os
import queue
import re
import select
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAMS = TARGET / "release"
STACK = ("127.0.0.1", 4566)
LONG, PATIENCE = 3600, 120
# Once there is one, what still runs is ended, and fails too.
FAILURES = []
BENCH = [os.environ.get("CARGO", "cargo"), "bench", "--locked", "--package", "oplake-core"]
BENCH += ["--features", "testing", "--bench", "pipeline"]
# So that a profile tells functions by name; one build for all uses.
SYMBOLS = {"CARGO_PROFILE_BENCH_STRIP": "none", "CARGO_PROFILE_BENCH_DEBUG": "line-tables-only"}

# A process takes over the peak memory of the one that starts it, and this
# program is not small.
LAUNCHER = """
import os, sys, time
out = int(sys.argv[1])
os.set_inheritable(out, False)
began = time.monotonic()
process = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
os.write(out, b"%d %r\\n" % (process, began))
_, status, used = os.wait4(process, 0)
ended = time.monotonic()
values = ended, used.ru_utime + used.ru_stime, used.ru_maxrss, os.waitstatus_to_exitcode(status)
os.write(out, b"%r %r %d %d\\n" % values)
"""


@dataclass
class Usage:
    wall: float
    cpu: float
    mib: float
    status: int
    events: int = 0


class Process:
    """A program that runs, and what it has used once it is over."""

    def __init__(self, command, environment):
        read, write = os.pipe()
        self.output = tempfile.TemporaryFile()
        command = [str(word) for word in command]
        self.launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", LAUNCHER, str(write), *command],
            env=environment,
            pass_fds=[write],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(write)
        self.told = os.fdopen(read)
        line = self.told.readline()
        if not line:
            sys.exit(f"{shlex.join(command)} did not start:\n{self.written()}")
        pid, began = line.split()
        self.pid, self.began = int(pid), float(began)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.is_over():
            self.stop()

    def is_over(self):
        """Whether it has ended, which it is made to when another run has failed or after an hour."""
        over = self.launcher.poll() is not None
        if not over and (FAILURES or time.monotonic() > self.began + LONG):
            self.kill()
        return over

    def kill(self):
        # Between its end and that of the launcher it is not there.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self):
        while not self.is_over():
            time.sleep(0.05)
        ended, cpu, kib, status = self.told.readline().split()
        return Usage(float(ended) - self.began, float(cpu), int(kib) / 1024, int(status))

    def stop(self):
        self.kill()
        return self.wait()

    def written(self):
        self.output.seek(0)
        return self.output.read().decode(errors="replace")


def run(command, environment):
    """What it has used, and what it has written."""
    with Process(command, environment) as process:
        usage = process.wait()
    written = process.written()
    if usage.status != 0:
        sys.exit(f"{shlex.join(map(str, command))} ended with {usage.status} after {usage.wall:.0f} s:\n{written}")
    return usage, written


def each(task, inputs, beside):
    """What `task` makes of each of `inputs`, one after the other or beside each other."""
    with ThreadPoolExecutor(len(inputs) if beside else 1) as pool:
        futures = [pool.submit(task, value) for value in inputs]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException as failure:
            FAILURES.append(failure)
            pool.shutdown(wait=False, cancel_futures=True)
            raise FAILURES[0]
        return [future.result() for future in futures]


@contextlib.contextmanager
def simulator(events, days=30, latency=0, record=False):
    """The Events API in a process of its own; its URL and token."""
    command = [PROGRAMS / "events-api-simulator", "--no-rate-limit"]
    command += ["--events", str(events), "--days", str(days), "--latency-ms", str(latency)]
    command += [] if record else ["--no-record"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
            line = ready and process.stdout.readline()
            if not line:
                sys.exit("the simulator did not start")
            yield json.loads(line)
        finally:
            process.kill()


class RuntimeApi:
    """Lambda's Runtime API for one function, which is invoked with `{}`."""

    def __init__(self):
        self.polls = []
        self.invocations, self.answers = queue.Queue(), queue.Queue()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Heads and bodies leave in packets of their own otherwise.
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self):
                api.polls.append(time.monotonic())
                api.invocations.get()
                self.send_response(200)
                deadline = round((time.time() + LONG) * 1000)
                self.send_header("lambda-runtime-aws-request-id", str(uuid.uuid4()))
                self.send_header("lambda-runtime-deadline-ms", str(deadline))
                arn = "arn:aws:lambda:us-east-1:000000000000:function:collector"
                self.send_header("lambda-runtime-invoked-function-arn", arn)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.answers.put((time.monotonic(), self.path.endswith("/response"), body))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A function that is killed leaves a connection in the middle of a poll.
        self.server.handle_error = lambda *_: None
        self.address = "127.0.0.1:{}".format(self.server.server_port)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def invoke(self, process):
        """When the function answered, and what."""
        self.invocations.put(None)
        while True:
            with contextlib.suppress(queue.Empty):
                at, succeeded, body = self.answers.get(timeout=0.2)
                break
            if process.is_over():
                sys.exit(f"the function ended before it answered:\n{process.written()}")
        if not succeeded:
            sys.exit(f"the function failed: {body.decode()}")
        return at, body.decode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Relay:
    """Passes HTTP on to `target`, counting requests by service, and bytes."""

    def __init__(self, target):
        self.target = target
        self.requests, self.bytes, self.first = Counter(), 0, None
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{}".format(self.listener.getsockname()[1])
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=[client], daemon=True).start()

    def serve(self, client):
        server = socket.create_connection(self.target)
        for end in client, server:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self.back, args=[server, client], daemon=True).start()
        held = b""
        with contextlib.suppress(OSError), client, server:
            while True:
                while b"\r\n\r\n" not in held:
                    more = client.recv(1 << 16)
                    if not more:
                        return
                    self.first = self.first or time.monotonic()
                    held += more
                head, _, held = held.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                left = int(length[1]) if length else 0
                with self.lock:
                    self.requests[service(head)] += 1
                    self.bytes += len(head) + 4 + left
                server.sendall(head + b"\r\n\r\n")
                while left:
                    body = held[:left] or client.recv(min(left, 1 << 16))
                    if not body:
                        return
                    held = held[len(body) :]
                    server.sendall(body)
                    left -= len(body)

    def back(self, server, client):
        with contextlib.suppress(OSError):
            while answer := server.recv(1 << 18):
                with self.lock:
                    self.bytes += len(answer)
                client.sendall(answer)
            client.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.close()


def service(head):
    """What a request is counted as."""
    target = re.search(rb"(?i)\r\nx-amz-target: *(\w+)", head)
    if target:
        return "DynamoDB" if target[1].startswith(b"DynamoDB") else "Secrets Manager"
    return "S3" if b"\r\nx-amz-" in head.lower() else "Events API"


def host(url):
    name, port = url.removeprefix("http://").split(":")
    return name, int(port)


class Stack:
    """A bucket, a table and a secret on the local stack."""

    KEY = "test"

    def __init__(self, token):
        self.bucket = self.table = self.secret = f"bench-{uuid.uuid4().hex[:12]}"
        self.ask("s3", "PUT", f"/{self.bucket}")
        attributes = [{"AttributeName": name, "AttributeType": "S"} for name in ("account", "feed")]
        keys = [{"AttributeName": "account", "KeyType": "HASH"}]
        keys += [{"AttributeName": "feed", "KeyType": "RANGE"}]
        table = {"TableName": self.table, "AttributeDefinitions": attributes, "KeySchema": keys}
        self.call("dynamodb", "DynamoDB_20120810.CreateTable", table | {"BillingMode": "PAY_PER_REQUEST"})
        secret = {"Name": self.secret, "SecretString": token}
        self.call("secretsmanager", "secretsmanager.CreateSecret", secret)

    def environment(self, relay=None):
        address = relay.address if relay else "{}:{}".format(*STACK)
        return {
            "AWS_ENDPOINT_URL": f"http://{address}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.KEY,
            "AWS_SECRET_ACCESS_KEY": self.KEY,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }

    def remove(self):
        # Nothing here has more objects than a listing shows at once, times a few.
        while keys := re.findall(r"<Key>([^<]+)</Key>", self.ask("s3", "GET", f"/{self.bucket}")):
            for key in keys:
                self.ask("s3", "DELETE", f"/{self.bucket}/{key}")
        self.ask("s3", "DELETE", f"/{self.bucket}")
        self.call("dynamodb", "DynamoDB_20120810.DeleteTable", {"TableName": self.table})
        secret = {"SecretId": self.secret, "ForceDeleteWithoutRecovery": True}
        self.call("secretsmanager", "secretsmanager.DeleteSecret", secret)

    def call(self, service, target, body):
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": target}
        self.ask(service, "POST", "/", headers, json.dumps(body).encode())

    def ask(self, service, method, path, headers=(), body=b""):
        """Makes one signed request (Signature Version 4)."""
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        digest = hashlib.sha256(body).hexdigest()
        headers = dict(headers) | {"host": "{}:{}".format(*STACK), "x-amz-date": at}
        headers["x-amz-content-sha256"] = digest
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = "\n".join([method, path, "", lines, names, digest])
        scope = f"{at[:8]}/us-east-1/{service}/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{self.KEY}".encode()
        for part in [*scope.split("/"), f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashed}"]:
            key = hmac.digest(key, part.encode(), "sha256")
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.KEY}/{scope},"
            f"SignedHeaders={names},Signature={key.hex()}"
        )
        connection = HTTPConnection(*STACK, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except OSError as error:
            sys.exit(f"the local stack does not answer {method} {path}: {error}")
        if answer.status >= 300:
            sys.exit(f"the local stack answered {answer.status} to {method} {path}: {text}")
        return text


def spread(values, form="{:.2f}"):
    """The median, with the least and the greatest."""
    values = sorted(values)
    median, least, most = (form.format(of) for of in (statistics.median(values), values[0], values[-1]))
    return median if len(values) == 1 else f"{median} ({least} to {most})"


COLUMNS = "what|events|API latency|runs|wall, s|CPU, s|peak memory, MiB|events/s|requests|MB on the wire"


def row(what, events, latency, usages, relays):
    """A line of the table. `relays` are of one further run, which is not measured."""
    requests = sum((relay.requests for relay in relays), Counter())
    wire = sum(relay.bytes for relay in relays) / 1e6
    return [
        what,
        f"{events:,}",
        f"{latency} ms",
        str(len(usages)),
        spread([usage.wall for usage in usages]),
        spread([usage.cpu for usage in usages]),
        spread([usage.mib for usage in usages], "{:.1f}"),
        f"{events / statistics.median(usage.wall for usage in usages):,.0f}" if events else "",
        ", ".join(f"{requests[name]:,} {name}" for name in sorted(requests)),
        f"{wire:.1f}" if wire >= 0.1 else f"{wire:.3f}",
    ]


def table(head, rows):
    """`rows` as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine():
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    memory = int(re.search(r"MemTotal: *(\d+)", Path("/proc/meminfo").read_text())[1]) / 2**20
    name = model[1] if model else os.uname().machine
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {os.uname().release}"


def commit():
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return f"`{git('rev-parse', '--short', 'HEAD')}`{changed}"


@contextlib.contextmanager
def folder():
    path = Path(tempfile.mkdtemp(prefix="oplake-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def fetch(url):
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)
