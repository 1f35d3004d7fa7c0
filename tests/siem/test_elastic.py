"""The Elastic Agent's configuration and Fleet policies, against what Elastic's packages name and the keys of a lake."""

import json
import re

import pytest
import yaml
from test_vendors import FEEDS, FOREIGN, SIEM, calls, keys, output, sent

FOLDER = SIEM / "elastic"
AGENT = yaml.safe_load((FOLDER / "elastic-agent.yml").read_text())
# https://github.com/elastic/integrations/blob/main/packages/1password: its data streams.
DATASETS = {feed: f"1password.{feed}" for feed in FEEDS}

# What the configuration says is a part of this: name, and type or allowed values.
# https://www.elastic.co/docs/reference/beats/filebeat/filebeat-input-aws-s3
STREAM = {
    "id": str,
    "data_stream": {"type": ["logs"], "dataset": str},
    "queue_url": str,
    "file_selectors": [{"regex": str, "content_type": ["application/x-ndjson", "application/json"]}],
    "sqs.max_receive_count": int,
    "tags": [str],
    "publisher_pipeline.disable_host": bool,
}
INPUT = {"id": str, "type": ["aws-s3"], "use_output": str, "data_stream": {"namespace": str}, "streams": [STREAM]}
# https://www.elastic.co/docs/reference/fleet/elasticsearch-output
OUTPUT = {"type": ["elasticsearch"], "hosts": [str], "api_key": str}
CONFIGURATION = {"outputs": {"default": OUTPUT}, "inputs": [INPUT]}

# https://github.com/elastic/integrations/blob/main/packages/aws_logs/data_stream/generic/manifest.yml, the stream of
# input aws-s3: type of each variable, and whether it holds several. Kibana reads a variable of type yaml as text.
VARIABLES = {
    "queue_url": ("text", False),
    "data_stream.dataset": ("text", False),
    "file_selectors": ("yaml", True),
    "sqs.max_receive_count": ("integer", False),
    "tags": ("text", True),
    "preserve_original_event": ("bool", False),
    "content_type": ("text", False),
    "visibility_timeout": ("text", False),
    "api_timeout": ("text", False),
    "max_number_of_messages": ("integer", False),
    "pipeline": ("text", False),
    "processors": ("yaml", False),
}
REQUIRED = {"data_stream.dataset", "tags", "preserve_original_event"}


def check(value, schema, path: str = "$") -> None:
    """That `value` has exactly what `schema` names."""
    if isinstance(schema, dict):
        assert isinstance(value, dict) and value.keys() == schema.keys(), path
        for name in schema:
            check(value[name], schema[name], f"{path}.{name}")
    elif isinstance(schema, list) and len(schema) == 1 and not isinstance(schema[0], str):
        assert isinstance(value, list) and value, path
        for number, entry in enumerate(value):
            check(entry, schema[0], f"{path}[{number}]")
    elif isinstance(schema, list):
        assert value in schema, path
    else:
        assert type(value) is schema, path


def agent_streams() -> dict[str, dict]:
    """By feed, the stream of the standalone Agent."""
    return {entry["id"].removeprefix("onepassword-"): entry["streams"][0] for entry in AGENT["inputs"]}


def fleet_variables() -> dict[str, dict]:
    """By feed, the variables of the policy that the README posts."""
    found = {}
    for body in sent("elastic", "/api/fleet/package_policies"):
        (stream,) = body["inputs"]["aws_logs-aws-s3"]["streams"].values()
        found[body["name"].removeprefix("onepassword-s3-")] = stream["vars"]
    return found


def test_the_agent_is_configured_by_what_the_input_knows():
    check(AGENT, CONFIGURATION)
    assert list(agent_streams()) == FEEDS
    for entry in AGENT["inputs"]:
        assert entry["use_output"] in AGENT["outputs"] and len(entry["streams"]) == 1
        # As Elastic names data streams: no hyphen in a dataset.
        assert re.fullmatch(r"[a-z0-9_.]+", entry["streams"][0]["data_stream"]["dataset"])


def test_the_agent_is_given_what_its_configuration_asks_for():
    text = (FOLDER / "elastic-agent.yml").read_text().split("outputs:", 1)[1]
    asked = set(re.findall(r"\$\{env\.(\w+)\}", text))
    exported = set(re.findall(r"export ((?:\w+=\S+ ?)+)", (FOLDER / "README.md").read_text()))
    assert asked <= {name for line in exported for name in re.findall(r"(\w+)=", line)}
    (call,) = [call for call in calls("elastic") if call["program"] == "elastic-agent"]
    for feed, queue in zip(FEEDS, ["SigninAttempts", "ItemUsages", "AuditEvents"], strict=True):
        variable = agent_streams()[feed]["queue_url"].removeprefix("${env.").removesuffix("}")
        assert call["environment"][variable] == output(f"{queue}QueueUrl")


def test_the_fleet_policies_are_for_one_feed_each():
    bodies = sent("elastic", "/api/fleet/package_policies")
    for body, feed in zip(bodies, FEEDS, strict=True):
        # https://www.elastic.co/docs/api/doc/kibana/operation/operation-post-fleet-package-policies
        assert body.keys() == {"name", "description", "namespace", "policy_ids", "package", "inputs"}
        assert body["name"] == f"onepassword-s3-{feed}" and body["package"]["name"] == "aws_logs"
        # Policy template and input; data stream of the package.
        assert body["inputs"].keys() == {"aws_logs-aws-s3", "aws_logs-aws-cloudwatch"}
        assert body["inputs"]["aws_logs-aws-cloudwatch"] == {"enabled": False}
        (name,) = body["inputs"]["aws_logs-aws-s3"]["streams"]
        assert name == "aws_logs.generic"
        assert not re.search(r"[A-Z]{3,}_|FEED", json.dumps(body)), "something was not filled in"
    assert fleet_variables().keys() == set(FEEDS)


@pytest.mark.parametrize("feed", FEEDS)
def test_the_fleet_policies_set_variables_of_the_package(feed):
    variables = fleet_variables()[feed]
    assert variables.keys() >= REQUIRED
    for name, value in variables.items():
        kind, several = VARIABLES[name]
        if kind == "yaml":
            assert isinstance(value, str), "Kibana parses it"
            value = yaml.safe_load(value)
        assert isinstance(value, list) == several, name
        for entry in value if several else [value]:
            assert type(entry) is {"text": str, "integer": int, "bool": bool, "yaml": dict}[kind], name


@pytest.mark.parametrize("feed", FEEDS)
def test_fleet_and_the_standalone_agent_do_the_same(feed):
    stream, variables = agent_streams()[feed], fleet_variables()[feed]
    assert variables["data_stream.dataset"] == stream["data_stream"]["dataset"] == DATASETS[feed]
    assert yaml.safe_load(variables["file_selectors"]) == stream["file_selectors"]
    assert variables["sqs.max_receive_count"] == stream["sqs.max_receive_count"] == -1
    # The package makes these of its own variables: agent/stream/aws-s3.yml.hbs.
    assert variables["preserve_original_event"] and "preserve_original_event" in stream["tags"]
    assert "forwarded" in variables["tags"] and stream["publisher_pipeline.disable_host"] is True
    assert ["preserve_original_event", *variables["tags"]] == stream["tags"]


@pytest.mark.parametrize("feed", FEEDS)
def test_a_selector_takes_the_keys_of_its_feed_and_no_others(feed):
    """Go looks for the expression anywhere in the key, as `re.search` does, and reads nothing in it otherwise."""
    (selector,) = agent_streams()[feed]["file_selectors"]
    assert selector["content_type"] == "application/x-ndjson"
    for other in FEEDS:
        assert {bool(re.search(selector["regex"], key)) for key in keys()[other]} == {other == feed}
        # Under a prefix of the operator's, too, even one that is named as a feed.
        for prefix in ("logs/", f"{feed}/", f"2026-01-01/{feed}/v1.2/"):
            moved = [prefix + key.removeprefix("onepassword/v1/") for key in keys()[other]]
            assert {bool(re.search(selector["regex"], key)) for key in moved} == {other == feed}
    assert not [key for key in FOREIGN if re.search(selector["regex"], key)]
