"""What infra/siem and docs/siem.md say, against the templates, the keys of a lake and what vendors document.

The READMEs' commands are run, with stand-ins for the programs that would reach AWS or a vendor.
"""

import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from events import collected
from programs import ROOT, program

sys.path.insert(0, str(ROOT / "tests/athena"))
from template import Loader  # noqa: E402

SIEM = ROOT / "infra/siem"
DOCUMENT = ROOT / "docs/siem.md"
VENDORS = sorted(path.name for path in SIEM.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
NOT_SERVED = ["blumira", "rapid7", "security-lake"]
SERVED = [name for name in VENDORS if name not in NOT_SERVED]
PAGES = [DOCUMENT, *(SIEM / vendor / "README.md" for vendor in VENDORS)]
FEEDS = ["signin_attempts", "item_usages", "audit_events"]

# Keys of the same bucket that are no events of a feed, or look like those of another.
FOREIGN = [
    "quarantine/onepassword/v1/audit_events/acme/0f343b0931126a20f133d67c2b018a3b0f343b0931126a20f133d67c2b018a3b.json.gz",
    "quarantine/onepassword/v1/audit_events/2026-01-02/0f343b0931126a20f133d67c2b018a3b.json.gz",
    "onepassword/v1/audit_events/2026-01-02/acme/20260102T030405Z-0f34.json",
    "onepassword/v1/audit_events/2026-01-02/acme/20260102T030405Z-0f34.json.gz.tmp",
    "onepassword/v1/audit_events_typed/2026-01-02/acme/20260102T030405Z-0f34.json.gz",
    "onepassword/v1/other/2026-01-02/audit_events/20260102T030405Z-0f34.json.gz",
    "athena-results/audit_events/0f343b09.csv",
]


@functools.cache
def keys() -> dict[str, list[str]]:
    """By feed, the keys of a lake that the collector wrote; and the same for accounts that are named as feeds."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Path(folder, "lake")
        command = [program("OPLAKE", "oplake"), "demo", "--out", lake, "--events", "3000"]
        subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        written = sorted(str(path.relative_to(lake)) for path in lake.rglob("*.json.gz"))
    found = {feed: [key for key in written if f"/{feed}/" in key] for feed in FEEDS}
    assert all(found.values()) and sum(map(len, found.values())) == len(written)
    confusing = {
        feed: [key.replace("/main/", f"/{other}/") for other in FEEDS for key in found[feed]] for feed in FEEDS
    }
    return {feed: found[feed] + confusing[feed] for feed in FEEDS}


def template(path: str) -> dict:
    return yaml.load((ROOT / path).read_text(), Loader)


def read(vendor: str, name: str = "README.md") -> str:
    return (SIEM / vendor / name).read_text()


# READMEs


def headings(text: str) -> list[str]:
    return [line.lstrip("#").strip() for line in without_code(text).splitlines() if line.startswith("#")]


def without_code(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.M | re.S)


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    plain = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@pytest.mark.parametrize("vendor", SERVED)
def test_the_readme_of_a_served_vendor_answers_the_same_questions(vendor):
    asked = ["Order", "Steps", "What you should see", "Repeats", "Limits"]
    answered = [
        question for question in asked if any(heading.startswith(question) for heading in headings(read(vendor)))
    ]
    assert answered == asked


@pytest.mark.parametrize("vendor", NOT_SERVED)
def test_the_readme_of_a_vendor_that_is_not_served_says_so_at_once(vendor):
    title, nothing, first = read(vendor).splitlines()[:3]
    assert title.startswith("# ") and nothing == "" and first.startswith("Not served")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
        if link.startswith("https://"):
            continue
        assert "://" not in link, f"{link} is plain"
        name, _, wanted = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{link} leads nowhere"
        if wanted:
            assert wanted in map(anchor, headings(target.read_text())), f"{link} names no heading"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_nobody_is_called_tested(path):
    text = " ".join(path.read_text().split())
    assert not re.search(r"\b(tested|verified|certified|proven) (with|on|against|by)\b", text, re.I)
    if path.parent.name in SERVED or path == DOCUMENT:
        assert re.search(r"\b(nothing|none)( here| of this)? (ran|has run) (against|in)\b", text, re.I), (
            "does not say that it never ran"
        )


def test_the_table_names_each_folder_and_nothing_else():
    table = DOCUMENT.read_text().split("## Who is served")[1].split("## ")[0]
    rows = re.findall(r"^\| \[[^\]]+\]\(\.\./infra/siem/([a-z0-9-]+)/README\.md\) \| ([^|]*) \|", table, re.M)
    assert sorted(name for name, _ in rows) == VENDORS
    assert [name for name, served in rows if served.startswith("no:")] == [
        name for name, _ in rows if name in NOT_SERVED
    ]
    assert len(rows) == len([line for line in table.splitlines() if line.startswith("| [")])


# Commands


def commands(text: str) -> str:
    """The shell that a text tells to type."""
    lines = []
    for indent, block in re.findall(r"^( *)```console\n(.*?)^\1```", text, re.M | re.S):
        for line in block.splitlines():
            assert line.startswith(indent), f"not indented as its fence: {line}"
            lines.append(line[len(indent) :].removeprefix("$ "))
    return "\n".join(lines)


def steps(vendor: str) -> str:
    if vendor == "docs":
        # The script asks AWS by itself.
        return re.sub(r"^\$ infra/siem/enable-eventbridge .*\n", "", DOCUMENT.read_text(), flags=re.M)
    sections = re.split(r"^## ", read(vendor), flags=re.M)
    return "\n".join(section for section in sections if section.startswith("Steps"))


# What a reader fills in.
FILLED_IN = {
    "ROLE": "lake-reader",
    "PANTHER_ACCOUNT": "111122223333",
    "PANTHER_REGION": "us-west-2",
    "DEPLOYMENT:ORGANIZATION": "us2:0000000000BC614E",
    "LOGSCALE_PRINCIPAL": "arn:aws:iam::111122223333:role/logscale",
    "EXTERNAL_ID": "c0ffee",
    "WORKSPACE_ID": "01234567-89ab-cdef-0123-456789abcdef",
    "WORKSPACE": "security",
    "GROUP": "security",
    "REGION": "westeurope",
    "PRINCIPAL": "arn:aws:iam::111122223333:user/connector",
    "TOPIC": "arn:aws:sns:us-east-1:123456789012:onepassword-panther-history",
    "URL": "https://endpoint1.collection.us2.sumologic.com/receiver/v1/http/abc==",
}
STAND_IN = """#!PYTHON
import json, os, pathlib, re, sys
name = pathlib.Path(sys.argv[0]).name
arguments = sys.argv[1:]
call = {"program": name, "arguments": arguments, "environment": dict(os.environ)}
body = [value for flag, value in zip(arguments, arguments[1:]) if flag == "--data-binary"]
if body:
    call["body"] = sys.stdin.read() if body == ["@-"] else pathlib.Path(body[0].removeprefix("@")).read_text()
files = [value for value in arguments if value.startswith("file://")]
if files:
    call["file"] = pathlib.Path(files[0].removeprefix("file://")).read_text()
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps(call), file=calls)
text = " ".join(arguments)
if name == "openssl":
    print("00112233445566778899aabbccddeeff")
stacks = pathlib.Path(os.environ["STACKS"])
deployed = json.loads(stacks.read_text())
if name == "aws" and "deploy" in arguments:
    deployed[arguments[arguments.index("--stack-name") + 1]] = arguments[arguments.index("--template-file") + 1]
    stacks.write_text(json.dumps(deployed))
if name == "aws" and "describe-stacks" in arguments:
    template = deployed[arguments[arguments.index("--stack-name") + 1]]
    print(json.loads(os.environ["OUTPUTS"])[template][re.search(r"OutputKey=='(\\w+)'", text)[1]])
if name == "aws" and "get-function-configuration" in arguments:
    function = {"FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:onepassword-datadog-forwarder",
                "Role": "arn:aws:iam::123456789012:role/forwarder-ForwarderRole-1ABC"}
    print(function[arguments[arguments.index("--query") + 1]])
"""


def output(name: str) -> str:
    """A value of an output, of the form that AWS would give it."""
    if name.endswith("Url"):
        return f"https://sqs.us-east-1.amazonaws.com/123456789012/{name}"
    return {
        "ObjectsTopicArn": "arn:aws:sns:us-east-1:123456789012:lake-objects",
        "AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:lake-alarms",
        "ArchiveBucketName": "acme-archivebucket-1a2b",
        "RoleArn": "arn:aws:iam::123456789012:role/consumer-ReaderRole-1ABC",
    }.get(name, f"value-of-{name}")


@functools.cache
def calls(vendor: str) -> list[dict]:
    """Runs the steps of a README, and returns what the programs were called with."""
    script = commands(steps(vendor))
    assert script, f"{vendor} has no commands"
    for name, value in sorted(FILLED_IN.items(), key=lambda item: -len(item[0])):
        script = re.sub(rf"(?<![A-Z_\"${{|]){re.escape(name)}(?![A-Z_\"}}|])", value, script)
    templates = ["template.yaml", *(str(path.relative_to(ROOT)) for path in sorted(SIEM.rglob("*.yaml")))]
    outputs = {path: {name: output(name) for name in template(path)["Outputs"]} for path in templates}
    with tempfile.TemporaryDirectory() as folder:
        (programs := Path(folder, "bin")).mkdir()
        for name in ["aws", "az", "curl", "elastic-agent", "openssl", "oplake", "panther_analysis_tool"]:
            (programs / name).write_text(STAND_IN.replace("PYTHON", sys.executable))
            (programs / name).chmod(0o755)
        for name in ["bash", "sed"]:
            (programs / name).symlink_to(shutil.which(name))
        (work := Path(folder, "work")).mkdir()
        (work / "infra").symlink_to(ROOT / "infra")
        (recorded := Path(folder, "calls")).touch()
        (stacks := Path(folder, "stacks")).write_text(json.dumps({"onepassword-events-lake": "template.yaml"}))
        # Nothing but the stand-ins can be reached.
        environment = {
            "PATH": programs,
            "CALLS": recorded,
            "STACKS": stacks,
            "OUTPUTS": json.dumps(outputs),
            "LC_ALL": "C.UTF-8",
        }
        command = [programs / "bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return [json.loads(line) for line in recorded.read_text().splitlines()]


class Deployment(NamedTuple):
    template: str
    stack: str
    # As given, and with what an earlier deployment of the stack gave, or the template's default.
    given: dict[str, str]
    parameters: dict[str, str]
    capability: str


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


@functools.cache
def deployments(vendor: str) -> list[Deployment]:
    """What the commands deploy, in their order."""
    found, kept = [], {}
    for arguments in (call["arguments"] for call in calls(vendor) if call["program"] == "aws"):
        if arguments[:2] == ["cloudformation", "deploy"]:
            path, stack = option(arguments, "--template-file"), option(arguments, "--stack-name")
            start, end = arguments.index("--parameter-overrides") + 1, arguments.index("--capabilities")
            given = dict(text.split("=", 1) for text in arguments[start:end])
            declared = template(path)["Parameters"].items()
            defaults = {name: body["Default"] for name, body in declared if "Default" in body}
            kept[stack] = kept.get(stack, defaults) | given
            found.append(Deployment(path, stack, given, kept[stack], arguments[end + 1]))
    return found


def sent(vendor: str, path: str) -> list[dict]:
    """The JSON bodies that a README posts to URLs that end in `path`."""
    return [
        json.loads(call["body"])
        for call in calls(vendor)
        if call["program"] == "curl" and any(argument.endswith(path) for argument in call["arguments"])
    ]


@pytest.mark.parametrize("vendor", [*SERVED, "docs"])
def test_commands_deploy_what_the_template_takes(vendor):
    assert deployments(vendor)
    for deployment in deployments(vendor):
        declared = template(deployment.template)
        assert deployment.parameters.keys() == declared["Parameters"].keys(), f"of {deployment.template}"
        for name, value in deployment.given.items():
            parameter = declared["Parameters"][name]
            assert re.search(parameter.get("AllowedPattern", ""), value), f"{name} must not be {value}"
            assert value in parameter.get("AllowedValues", [value]), f"{name} must not be {value}"
        roles = [body["Properties"] for body in declared["Resources"].values() if body["Type"] == "AWS::IAM::Role"]
        named = any("RoleName" in role for role in roles)
        assert deployment.capability == ("CAPABILITY_NAMED_IAM" if named else "CAPABILITY_IAM")


def value_of(condition, parameters: dict[str, str]):
    """Of the functions that the rules of a template use."""
    if not isinstance(condition, dict):
        return condition
    ((function, argument),) = condition.items()
    if function == "Ref":
        return parameters[argument]
    values = [value_of(part, parameters) for part in argument]
    known = {"Fn::Equals": values[0] == values[-1], "Fn::Not": not values[0], "Fn::Or": any(values)}
    return known[function]


@pytest.mark.parametrize("vendor", [*SERVED, "docs"])
def test_commands_keep_the_rules_of_the_template(vendor):
    for deployment in deployments(vendor):
        for name, rule in template(deployment.template).get("Rules", {}).items():
            if value_of(rule.get("RuleCondition", True), deployment.parameters):
                for assertion in rule["Assertions"]:
                    holds = value_of(assertion["Assert"], deployment.parameters)
                    assert holds, f"{name}: {assertion['AssertDescription']}"


def test_the_document_names_the_defaults_of_the_template():
    declared = template("infra/siem/consumer.yaml")
    queues = [body["Properties"] for body in declared["Resources"].values() if body["Type"] == "AWS::SQS::Queue"]
    alarms = [body["Properties"] for body in declared["Resources"].values() if body["Type"] == "AWS::CloudWatch::Alarm"]
    text = " ".join(DOCUMENT.read_text().split())
    kept, again, tries = re.search(
        r"keeps messages (\d+) days, gives them again after (\d+) minutes, and after (\d+) times to a dead-letter "
        r"queue; alarms for messages older than an hour and",
        text,
    ).groups()
    assert {queue["MessageRetentionPeriod"] for queue in queues} == {int(kept) * 86400}
    assert declared["Parameters"]["VisibilityTimeout"]["Default"] == int(again) * 60
    assert declared["Parameters"]["MaxReceiveCount"]["Default"] == int(tries)
    assert {alarm["Threshold"] for alarm in alarms if alarm["MetricName"].startswith("ApproximateAge")} == {3600}


def test_the_document_replays_by_options_that_there_are():
    (arguments,) = [call["arguments"] for call in calls("docs") if call["program"] == "oplake"]
    command = [program("OPLAKE", "oplake"), arguments[0], "--help"]
    known = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    for name in [argument for argument in arguments if argument.startswith("--")]:
        assert re.search(rf"^ +{name}\b", known, re.M), f"there is no {name}"


@pytest.mark.parametrize(
    ("vendor", "expected"),
    {
        "cribl": {"ExistingRoleName"},
        "splunk": {"ExistingRoleName"},
        "sentinel": {"ExistingRoleName"},
        "crowdstrike": {"PrincipalArn", "ExternalId"},
        "elastic": {"ExistingRoleName"},
        "google-secops": {"PrincipalArn"},
        "stellar": {"PrincipalArn"},
    }.items(),
)
def test_who_takes_queues_gets_raw_messages_and_a_right_to_them(vendor, expected):
    deployment = next(found for found in deployments(vendor) if found.template == "infra/siem/consumer.yaml")
    assert deployment.given.keys() - {"TopicArn", "BucketName", "AlarmTopicArn"} == expected
    assert (deployment.parameters["Delivery"], deployment.parameters["RawDelivery"]) == ("queue", "true")


# Sumo Logic


def test_sumo_gets_the_role_first_and_the_subscription_when_the_url_is_known():
    first, second = (deployment.given for deployment in deployments("sumo"))
    assert first["Delivery"] == "https" and "Endpoint" not in first
    # Its account and form of an external id:
    # https://help.sumologic.com/docs/send-data/hosted-collectors/amazon-aws/grant-access-aws-product/
    assert first["PrincipalArn"] == "arn:aws:iam::926226587429:root"
    assert re.fullmatch(r"[a-z]+[0-9]?:[0-9A-F]{16}", first["ExternalId"])
    assert second.keys() == {"Endpoint"} and second["Endpoint"].startswith("https://")


def test_the_source_of_sumo_holds_what_its_documentation_names():
    (source,) = sent("sumo", "/sources")
    # https://help.sumologic.com/docs/send-data/use-json-configure-sources/json-parameters-hosted-sources/
    assert source == {
        "api.version": "v1",
        "source": {
            "sourceType": "Polling",
            "name": "1Password from S3",
            "category": "1password/s3",
            "contentType": "AwsS3Bucket",
            "thirdPartyRef": {
                "resources": [
                    {
                        "serviceType": "AwsS3Bucket",
                        "path": {
                            "type": "S3BucketPathExpression",
                            "bucketName": output("ArchiveBucketName"),
                            "pathExpression": "onepassword/v1/*",
                            "useVersionedApi": True,
                        },
                        "authentication": {"type": "AWSRoleBasedAuthentication", "roleARN": output("RoleArn")},
                    }
                ]
            },
            "scanInterval": 300000,
            "paused": False,
            "cutoffTimestamp": 0,
            "encoding": "UTF-8",
            "automaticDateParsing": True,
            "multilineProcessingEnabled": False,
        },
    }


def test_the_path_expression_of_sumo_covers_the_lake_alone():
    (source,) = sent("sumo", "/sources")
    expression = source["source"]["thirdPartyRef"]["resources"][0]["path"]["pathExpression"]
    assert not expression.startswith("/") and expression.count("*") == 1
    assert all(fnmatchcase(key, expression) for feed in FEEDS for key in keys()[feed])
    assert not any(fnmatchcase(key, expression) for key in FOREIGN if not key.startswith("onepassword/v1/"))


# Datadog


def test_the_forwarder_gets_parameters_that_its_template_has():
    (call,) = [call for call in calls("datadog") if "create-stack" in call["arguments"]]
    parameters = {entry["ParameterKey"]: entry["ParameterValue"] for entry in json.loads(call["file"])}
    # https://github.com/DataDog/datadog-serverless-functions/blob/master/aws/logs_monitoring/README.md#parameters,
    # DdSource: aws/logs_monitoring/template.yaml
    assert parameters == {
        "FunctionName": "onepassword-datadog-forwarder",
        "DdSite": "datadoghq.com",
        "DdApiKeySecretArn": "arn:aws:secretsmanager:…",
        "DdSource": "1password",
        "DdStoreFailedEvents": "true",
        "DdScheduleRetryFailedEvents": "true",
    }
    template_url = option(call["arguments"], "--template-url")
    assert template_url == "https://datadog-cloudformation-template.s3.amazonaws.com/aws/forwarder/latest.yaml"


def test_the_forwarder_takes_one_message_at_a_time_and_has_the_time_for_it():
    forwarder, _ = deployments("datadog")
    parameters = forwarder.parameters
    assert parameters["Delivery"] == "lambda"
    assert parameters["Endpoint"].endswith(":function:onepassword-datadog-forwarder")
    assert parameters["ExistingRoleName"] == "forwarder-ForwarderRole-1ABC"
    resources = template(forwarder.template)["Resources"].values()
    mappings = [body for body in resources if body["Type"] == "AWS::Lambda::EventSourceMapping"]
    assert [body["Properties"]["BatchSize"] for body in mappings] == [1, 1, 1]
    # AWS asks for six times the function's timeout, which is 120 s.
    assert int(parameters["VisibilityTimeout"]) >= 720


def test_the_pipeline_of_datadog_holds_what_its_api_names():
    (body,) = sent("datadog", "/api/v2/obs-pipelines/pipelines")
    assert body["data"].keys() == {"type", "attributes"} and body["data"]["type"] == "pipelines"
    assert body["data"]["attributes"].keys() == {"name", "config"}
    config = body["data"]["attributes"]["config"]
    assert config.keys() == {"sources", "processor_groups", "destinations"}
    (source,) = config["sources"]
    assert source == {"id": "lake", "type": "amazon_s3", "region": "us-east-1", "compression": "gzip"}
    (group,) = config["processor_groups"]
    assert group.keys() == {"id", "enabled", "include", "inputs", "processors"}
    assert (group["enabled"], group["include"], group["inputs"]) == (True, "*", [source["id"]])
    (processor,) = group["processors"]
    assert processor.keys() == {"id", "type", "enabled", "include", "remaps"}
    assert (processor["type"], processor["enabled"], processor["include"]) == ("custom_processor", True, "*")
    (remap,) = processor["remaps"]
    assert remap.keys() == {"name", "enabled", "include", "drop_on_error", "source"}
    assert (remap["enabled"], remap["include"], remap["drop_on_error"]) == (True, "*", False)
    (destination,) = config["destinations"]
    assert destination == {"id": "datadog", "type": "datadog_logs", "inputs": [group["id"]]}


def test_the_pipeline_of_datadog_dates_events_by_arrival():
    """By the text: no program here runs VRL."""
    (body,) = sent("datadog", "/api/v2/obs-pipelines/pipelines")
    program = body["data"]["attributes"]["config"]["processor_groups"][0]["processors"][0]["remaps"][0]["source"]
    assert program.splitlines() == [
        "event = object!(parse_json!(string!(.message)))",
        "event.event_time = del(event.timestamp)",
        ".message = encode_json(event)",
        ".timestamp = now()",
        '.ddsource = "1password"',
    ]
    assert not any('"event_time"' in line for lines in collected().values() for line in lines)


# CrowdStrike


def test_the_ingest_feeds_of_logscale_hold_what_its_reference_names():
    feeds = [body for body in sent("crowdstrike", "/graphql") if "createAwsS3SqsIngestFeed" in body["query"]]
    queues = {"signin_attempts": "SigninAttempts", "item_usages": "ItemUsages", "audit_events": "AuditEvents"}
    for body, (feed, queue) in zip(feeds, queues.items(), strict=True):
        assert body["query"].startswith(
            "mutation ($input: CreateAwsS3SqsIngestFeed!) { createAwsS3SqsIngestFeed(input: $input)"
        )
        assert body["query"].count("{") == body["query"].count("}")
        assert body["variables"] == {
            "input": {
                "repositoryName": "…",
                "name": f"onepassword-s3-{feed}",
                "parser": "onepassword-s3",
                "authentication": {"kind": "IamRole", "roleArn": output("RoleArn")},
                "sqsUrl": output(f"{queue}QueueUrl"),
                "region": "us-east-1",
                "enabled": False,
                "preprocessing": {"kind": "SplitNewline"},
                "compression": "Gzip",
            }
        }


def parser() -> dict:
    (body,) = [body for body in sent("crowdstrike", "/graphql") if "createParserV2" in body["query"]]
    assert body["query"].startswith("mutation ($input: CreateParserInputV2!) { createParserV2(input: $input)")
    return body["variables"]["input"]


def java_time(pattern: str, text: str) -> int | None:
    """A model of Java's DateTimeFormatter for the letters that the parser uses: milliseconds since 1970."""
    letters = {"yyyy": r"\d{4}", "MM": r"\d\d", "dd": r"\d\d", "HH": r"\d\d", "mm": r"\d\d", "ss": r"\d\d", "'T'": "T",
               "XXXXX": r"(?P<offset>Z|[+-]\d\d:\d\d)"}  # fmt: skip
    expression = ""
    for token in re.findall(r"\[\.S+\]|'T'|[A-Za-z]+|.", pattern):
        if token.startswith("["):
            expression += rf"(?:\.\d{{{token.count('S')}}})?"
        else:
            expression += letters.get(token) or re.escape(token)
    if not re.fullmatch(expression, text):
        return None
    whole, fraction, offset = re.fullmatch(r"(.{19})(?:\.(\d+))?(.+)", text).groups()
    seconds = datetime.fromisoformat(whole + offset.replace("Z", "+00:00")).timestamp()
    return int(seconds) * 1000 + int((fraction or "0").ljust(3, "0")[:3])


def test_the_parser_of_logscale_takes_every_time_and_its_default_would_not():
    (pattern,) = re.findall(r'parseTimestamp\(field=timestamp, format="(.*?)"\)', parser()["script"])
    times = [json.loads(line)["timestamp"] for lines in collected().values() for line in lines]
    assert {len(re.sub(r".{19}\.?(\d*).*", r"\1", time)) for time in times} == set(range(10))
    for time in times:
        digits = re.sub(r"\.(\d+)", lambda match: f".{match[1][:3].ljust(3, '0')}", time)
        assert java_time(pattern, time) == round(
            datetime.fromisoformat(digits.replace("Z", "+00:00")).timestamp() * 1000
        )
    # https://library.humio.com/data-analysis/functions-parsetimestamp.html
    assert any(java_time("yyyy-MM-dd'T'HH:mm:ss[.SSSSSSSSS]XXXXX", time) is None for time in times)


def fields(value: dict, prefix: str = "") -> dict[str, object]:
    """As parseJson() names them."""
    found = {}
    for name, inner in value.items():
        found |= fields(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {prefix + name: inner}
    return found


def feed_by_parser(line: dict) -> str | None:
    (cases,) = re.findall(r"case \{(.*)\}", parser()["script"], re.S)
    *rules, otherwise = [case.strip() for case in cases.split(";")]
    assert otherwise == "*", "an event that no rule takes would be dropped"
    for rule in rules:
        field, feed = re.fullmatch(r'(\w+)=\* \| feed := "(\w+)"', rule).groups()
        if field in fields(line):
            return feed
    return None


def test_the_parser_of_logscale_tells_the_feeds_apart():
    assert parser()["fieldsToTag"] == ["feed"] and parser()["fieldsToBeRemovedBeforeParsing"] == []
    for feed, lines in collected().items():
        assert {feed_by_parser(json.loads(line)) for line in lines} == {feed}


def test_the_parser_of_logscale_brings_a_test_that_it_passes():
    (pattern,) = re.findall(r'format="(.*?)"', parser()["script"])
    (case,) = parser()["testCases"]
    (assertion,) = case["outputAssertions"]
    event = json.loads(case["event"]["rawString"])
    expected = {entry["fieldName"]: entry["expectedValue"] for entry in assertion["assertions"]["fieldsHaveValues"]}
    assert expected == {"@timestamp": str(java_time(pattern, event["timestamp"])), "#feed": feed_by_parser(event)}
