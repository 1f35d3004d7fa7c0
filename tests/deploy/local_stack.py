"""A local stack of its own for the tests of this folder, reached by TLS alone.

The policies of the template refuse plain HTTP, so this one has a certificate,
unlike the stack of tests/stack. AUTH has it evaluate the policies.
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
REGION = "us-east-1"
ACCOUNT = "000000000000"
# Access key and secret of the account's root, both.
TEST = "test"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def certificate(folder: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate and key for 127.0.0.1 by it."""
    ca, ca_key, request, cert, key = (folder / name for name in ("ca.pem", "ca.key", "csr", "cert.pem", "key.pem"))
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for arguments in (
        ["req", "-x509", *new, "-keyout", ca_key, "-out", ca, "-days", "2", "-subj", "/CN=local stack CA"],
        ["req", *new, "-keyout", key, "-out", request, "-subj", "/CN=local stack"],
        ["x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial"]
        + ["-out", cert, "-days", "2", "-extfile", extensions],
    ):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    return ca, cert, key


class LocalStack:
    def __init__(self, folder: Path, program: Path = Path(__file__).with_name("run_ministack.py")):
        self.ca, cert, key = certificate(folder)
        port = free_port()
        self.url = f"https://127.0.0.1:{port}"
        self.log = folder / "ministack.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        # Functions inherit it. Their proxies are what the template says.
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
            clean.pop(name, None)
        setup = {
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "USE_SSL": "1",
            "MINISTACK_SSL_CERT": str(cert),
            "MINISTACK_SSL_KEY": str(key),
            "AWS_ENDPOINT_URL": self.url,
            "SSL_CERT_FILE": str(self.ca),
            # What a developer has installed must not be found instead.
            "TMPDIR": str(folder),
        }
        python = ROOT / ".venv/stack/bin/python"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [python, program],
                env=clean | setup,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.await_health()

    def await_health(self) -> None:
        for _ in range(300):
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", int(self.url.rsplit(":", 1)[1])), timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"the local stack did not start:\n{self.log.read_text()[-2000:]}")

    def environment(self, access_key: str = TEST, secret_key: str = TEST) -> dict[str, str]:
        """Variables by which another program reaches the stack, and nothing else."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return clean | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CA_BUNDLE": str(self.ca),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "SAM_CLI_TELEMETRY": "0",
        }

    def client(self, service: str, access_key: str = TEST, secret_key: str = TEST, token: str | None = None):
        session = boto3.Session(access_key, secret_key, token, REGION)
        config = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, proxies={}, read_timeout=300)
        return session.client(service, endpoint_url=self.url, verify=str(self.ca), config=config)

    def stop(self) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
