"""Deploys the template as its users do, by `sam deploy`, to the local stack."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from local_stack import ACCOUNT, REGION, ROOT, LocalStack

sys.path.insert(0, str(ROOT / "tests/athena"))
from programs import PATHS, program  # noqa: E402

STACK = "onepassword-events-lake"
SAM = ROOT / ".venv/sam/bin/sam"


def build(folder: Path) -> Path:
    """What `sam build` leaves: the template, and the program in the place of the sources.

    BUILD_DIR names one that `sam build` has left, in place of this.
    """
    if "BUILD_DIR" in os.environ:
        return Path(os.environ["BUILD_DIR"])
    collector = folder / "functions/collector"
    collector.mkdir(parents=True)
    shutil.copy(program("COLLECTOR", "collector"), collector / "bootstrap")
    # A debug build is ten times as large with its symbols.
    subprocess.run(["strip", collector / "bootstrap"], check=True)
    (folder / "infra").mkdir()
    shutil.copy(ROOT / "infra/athena.yaml", folder / "infra")
    shutil.copy(ROOT / "template.yaml", folder)
    return folder


def deploy_policy() -> str:
    text = (ROOT / "infra/deploy-policy.json").read_text()
    assert "123456789012" in text and "us-east-1" in text
    return text.replace("123456789012", ACCOUNT).replace("us-east-1", REGION)


def sam_deploy(local: LocalStack, built: Path, credentials: tuple[str, str], name: str, **parameters):
    """Runs `sam deploy` with samconfig.toml as it is, but for the questions."""
    command = [SAM, "deploy", "--template-file", built / "template.yaml", "--config-file", ROOT / "samconfig.toml"]
    command += ["--stack-name", name, "--no-confirm-changeset", "--no-progressbar"]
    if parameters:
        command += ["--parameter-overrides", *(f'{key}="{value}"' for key, value in parameters.items())]
    return subprocess.run(
        command, env=local.environment(*credentials), cwd=built, capture_output=True, text=True, timeout=180
    )


class Simulator:
    """The Events API of a company with some history."""

    def __init__(self):
        command = [program("EVENTS_API_SIMULATOR", "events-api-simulator"), "--events", "900", "--days", "3"]
        self.process = subprocess.Popen([*command, "--no-rate-limit"], stdout=subprocess.PIPE, text=True)
        ready = json.loads(self.process.stdout.readline())
        self.url = ready["url"]
        self.no_events = set()
        self.token = self.ask("POST", "token", {"expires_at": "2030-01-01T00:00:00Z"})["token"]

    def ask(self, method: str, path: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/_sim/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def push(self, feed: str, item: str) -> None:
        event = {"feed": PATHS[feed], "item": item, "visible_at": "2020-01-01T00:00:00Z"}
        self.ask("POST", "events", event)

    def uuids(self, feed: str) -> list[str]:
        """Of every event that the API shows by now."""
        by = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        events = self.ask("GET", f"oracle?feed={PATHS[feed]}&by={by}")
        return sorted(event["uuid"] for event in events if event["uuid"] not in self.no_events)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def query(local: LocalStack, database: str, sql: str) -> list[dict]:
    """Rows of an Athena statement over the deployed tables."""
    answer = subprocess.run(
        [sys.executable, ROOT / "tests/athena/deployed.py", database],
        env=local.environment(),
        input=sql,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]
