"""What `make package` makes, and that it deploys without SAM and without Rust."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from deployment import STACK
from local_stack import ROOT, LocalStack

sys.path.insert(0, str(ROOT / "tests/athena"))
from programs import program  # noqa: E402
from template import Loader  # noqa: E402

AWS = Path(sys.executable).with_name("aws")
VERSION = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


def make(folder: Path, *arguments):
    """Packages the collector from a folder of builds, as `sam build` leaves it."""
    built = folder / "built/CollectorFunction"
    built.mkdir(parents=True, exist_ok=True)
    shutil.copy(program("COLLECTOR", "collector"), built / "bootstrap")
    subprocess.run(["strip", built / "bootstrap"], check=True)
    command = [ROOT / "infra/package", "--built", folder / "built", "--out", folder / "dist", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    answer = make(folder)
    assert answer.returncode == 0, answer.stderr
    return folder / "dist" / VERSION


def test_the_same_program_gives_the_same_bytes(release, tmp_path):
    assert make(tmp_path / "elsewhere").returncode == 0
    again = tmp_path / "elsewhere/dist" / VERSION
    assert {file.name for file in release.iterdir()} == {
        "LICENSE",
        "LICENSES-x86_64.txt",
        "SHA256SUMS",
        "athena.yaml",
        "collector-x86_64.cdx.json",
        "collector-x86_64.zip",
        "template-x86_64.yaml",
    }
    for file in release.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def test_the_sums_are_those_of_all_files(release):
    sums = {}
    for line in (release / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        sums[name] = digest
    expected = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in release.iterdir()}
    del expected["SHA256SUMS"]
    assert sums == expected


def test_what_was_built_for_another_processor_is_refused(tmp_path):
    answer = make(tmp_path, "--arch", "arm64")
    assert answer.returncode == 1
    assert "was built for x86_64, not for arm64: run `make build ARCH=arm64`" in answer.stderr


def test_the_bill_of_materials_names_what_is_linked(release):
    bill = json.loads((release / "collector-x86_64.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["version"] == VERSION
    lock = (ROOT / "Cargo.lock").read_text()
    for component in bill["components"]:
        name, version, (sha,) = component["name"], component["version"], component["hashes"]
        assert f'name = "{name}"\nversion = "{version}"\n' in lock
        assert sha["content"] in lock
        assert component["licenses"], name
    names = {component["name"] for component in bill["components"]}
    assert {"aws-sdk-s3", "reqwest", "ring", "tokio", "zlib-rs"} <= names
    # Of tests, of the shell, and of other systems.
    assert names.isdisjoint({"stateright", "clap", "axum", "aws-sdk-sso", "windows-sys", "oplake-core"})


def test_the_texts_of_the_licences_are_there(release):
    texts = (release / "LICENSES-x86_64.txt").read_text()
    bill = json.loads((release / "collector-x86_64.cdx.json").read_text())
    for component in bill["components"]:
        assert f"{component['name']} {component['version']} (" in texts
    assert "Permission is hereby granted, free of charge" in texts
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in texts


def test_it_deploys_by_the_aws_command_alone(release, tmp_path_factory):
    local = LocalStack(tmp_path_factory.mktemp("stack"))
    try:
        local.client("s3").create_bucket(Bucket="releases")

        def cloudformation(*arguments):
            command = [AWS, "cloudformation", *arguments]
            answer = subprocess.run(
                command, cwd=release, env=local.environment(), capture_output=True, text=True, timeout=180
            )
            assert answer.returncode == 0, answer.stdout + answer.stderr

        packaged = release.parent / "packaged.yaml"
        template = "template-x86_64.yaml"
        cloudformation("package", "--template-file", template, "--s3-bucket", "releases", "--output-template-file", packaged)
        assert "s3://releases/" in packaged.read_text()
        store = ["--s3-bucket", "releases"]
        cloudformation("deploy", "--template-file", packaged, *store, "--stack-name", STACK, "--capabilities", "CAPABILITY_IAM")

        (stack,) = local.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        answer = local.client("lambda").invoke(FunctionName=outputs["CollectorFunctionName"], Payload=b"{}")
        report = json.loads(answer["Payload"].read())
        assert [stream["outcome"] for stream in report["streams"]] == ["no_token"] * 3
    finally:
        local.stop()


def test_the_zip_holds_the_program_and_may_run_it(release):
    with zipfile.ZipFile(release / "collector-x86_64.zip") as package:
        (entry,) = package.infolist()
        assert (entry.filename, entry.external_attr >> 16) == ("bootstrap", 0o100755)
        assert package.read(entry)[:4] == b"\x7fELF"


def test_a_template_deploys_only_what_it_was_made_for(release):
    template = yaml.load((release / "template-x86_64.yaml").read_text(), Loader)
    architecture = template["Parameters"]["Architecture"]
    assert (architecture["Default"], architecture["AllowedValues"]) == ("x86_64", ["x86_64"])
