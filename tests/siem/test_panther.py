"""Panther's schemas and data models, against what Panther documents and lines that the collector wrote."""

import importlib.util
import json
import re
import sys
import types
from datetime import datetime
from functools import reduce

import pytest
import yaml
from events import collected
from test_vendors import FEEDS, FOREIGN, SIEM, deployments, keys, read

FOLDER = SIEM / "panther"
LOG_TYPES = {"signin_attempts": "SignInAttempt", "item_usages": "ItemUsage", "audit_events": "AuditEvent"}
SCHEMAS = {feed: yaml.safe_load((FOLDER / f"schemas/{feed}.yml").read_text()) for feed in FEEDS}
MODELS = {feed: yaml.safe_load((FOLDER / f"data_models/{feed}.yml").read_text()) for feed in FEEDS}
# The simulator adds it, as 1Password might.
UNKNOWN = {"risk"}

# https://docs.panther.com/data-onboarding/custom-log-types/reference
NUMBERS = {"bigint": 2**63, "int": 2**31, "smallint": 2**15}
TYPES = {"string", "float", "boolean", "timestamp", "array", "object", "json", *NUMBERS}


def lines(feed: str) -> list[dict]:
    return [json.loads(line) for line in collected()[feed]]


def rfc3339(text: str) -> bool:
    form = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    return form is not None and datetime.fromisoformat(form[1]) is not None


def check(value, field: dict, path: str) -> None:
    """That Panther would take a value for a field."""
    kind = field["type"]
    if value is None:
        assert not field.get("required"), path
    elif kind == "object":
        assert isinstance(value, dict), path
        check_fields(value, field["fields"], path, discovery=False)
    elif kind in NUMBERS:
        assert type(value) is int and -NUMBERS[kind] <= value < NUMBERS[kind], path
    elif kind == "timestamp":
        assert rfc3339(value), f"{path}: {value}"
    else:
        assert type(value) is {"string": str, "float": float}[kind], path


def check_fields(line: dict, fields: list[dict], path: str, discovery: bool) -> None:
    declared = {field["name"]: field for field in fields}
    undeclared = line.keys() - declared.keys()
    assert not undeclared or (discovery and undeclared <= UNKNOWN), f"{path} has {undeclared}"
    for name, field in declared.items():
        assert name in line or not field.get("required"), f"{path}.{name}"
        check(line.get(name), field, f"{path}.{name}")


def all_fields(fields: list[dict]) -> list[dict]:
    return [inner for field in fields for inner in [field, *all_fields(field.get("fields", []))]]


@pytest.mark.parametrize("feed", FEEDS)
def test_a_schema_is_of_the_documented_form(feed):
    schema = SCHEMAS[feed]
    assert schema.keys() == {"version", "schema", "description", "referenceURL", "fieldDiscoveryEnabled", "fields"}
    assert schema["version"] == 0 and schema["fieldDiscoveryEnabled"] is True
    assert schema["schema"] == f"Custom.OnePassword.{LOG_TYPES[feed]}"
    for field in all_fields(schema["fields"]):
        assert field.keys() <= {
            "name",
            "description",
            "required",
            "type",
            "fields",
            "timeFormats",
            "isEventTime",
            "indicators",
        }
        assert field["type"] in TYPES and field["description"]
        assert ("fields" in field) == (field["type"] == "object")
        assert field.get("timeFormats") == (["rfc3339"] if field["type"] == "timestamp" else None)
        assert set(field.get("indicators", [])) <= {"ip", "email"}
    assert [field["name"] for field in schema["fields"] if field.get("required")] == ["uuid", "timestamp"]
    assert [field["name"] for field in all_fields(schema["fields"]) if field.get("isEventTime")] == ["timestamp"]
    names = [field["name"] for field in schema["fields"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("feed", FEEDS)
def test_a_schema_takes_each_line_of_its_feed(feed):
    for line in lines(feed):
        check_fields(line, SCHEMAS[feed]["fields"], feed, discovery=SCHEMAS[feed]["fieldDiscoveryEnabled"])


@pytest.mark.parametrize("feed", FEEDS)
def test_a_schema_takes_no_line_of_another_feed(feed):
    for other in set(FEEDS) - {feed}:
        with pytest.raises(AssertionError):
            check_fields(lines(other)[0], SCHEMAS[feed]["fields"], feed, discovery=True)


@pytest.mark.parametrize("feed", FEEDS)
def test_each_field_of_a_schema_is_one_that_events_have(feed):
    """So that a name that is wrong does not hide behind being optional."""

    def names(fields: list[dict], found: list[dict], path: str) -> None:
        for field in fields:
            values = [line[field["name"]] for line in found if line.get(field["name"]) is not None]
            assert values, f"no line has {path}{field['name']}"
            names(field.get("fields", []), values, f"{path}{field['name']}.")

    names(SCHEMAS[feed]["fields"], lines(feed), "")


@pytest.mark.parametrize("feed", FEEDS)
def test_a_data_model_is_of_the_documented_form(feed):
    """The form that panther_analysis_tool 1.11 checks, in its schemas.py."""
    model = MODELS[feed]
    assert model.keys() - {"Filename"} == {
        "AnalysisType",
        "DataModelID",
        "DisplayName",
        "LogTypes",
        "Enabled",
        "Mappings",
    }
    assert (model["AnalysisType"], model["Enabled"]) == ("datamodel", True)
    assert model["LogTypes"] == [SCHEMAS[feed]["schema"]]
    for mapping in model["Mappings"]:
        assert mapping.keys() in ({"Name", "Path"}, {"Name", "Method"})
    assert {"actor_user", "source_ip"} <= {mapping["Name"] for mapping in model["Mappings"]}
    assert ("Filename" in model) == any("Method" in mapping for mapping in model["Mappings"])


def resolve(line: dict, path: str):
    assert re.fullmatch(r"\$(\.\w+)+", path)
    return reduce(lambda value, name: (value or {}).get(name), path.split(".")[1:], line)


@pytest.mark.parametrize("feed", FEEDS)
def test_the_paths_of_a_data_model_lead_to_values(feed):
    declared = {"actor_user": r".+@.+", "source_ip": r"[0-9a-f.:]+", "user": r".+@.+"}
    for mapping in MODELS[feed]["Mappings"]:
        if "Path" in mapping:
            parent, _, _ = mapping["Path"].rpartition(".")
            values = [resolve(line, mapping["Path"]) for line in lines(feed) if resolve(line, parent)]
            assert values and all(value and re.fullmatch(declared[mapping["Name"]], value) for value in values), mapping


def test_the_data_model_tells_successful_sign_ins_from_failed_ones(monkeypatch):
    constants = types.ModuleType("panther_event_type_helpers")
    constants.SUCCESSFUL_LOGIN, constants.FAILED_LOGIN = "successful_login", "failed_login"
    monkeypatch.setitem(sys.modules, constants.__name__, constants)
    model = MODELS["signin_attempts"]
    spec = importlib.util.spec_from_file_location("model", FOLDER / "data_models" / model["Filename"])
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    (method,) = [mapping["Method"] for mapping in model["Mappings"] if "Method" in mapping]
    found = {line["category"]: getattr(module, method)(line) for line in lines("signin_attempts")}
    assert found.keys() >= {
        "success",
        "firewall_reported_success",
        "credentials_failed",
        "firewall_failed",
        "sso_failed",
    }
    for category, kind in found.items():
        assert kind == ("successful_login" if "success" in category else "failed_login"), category
    assert getattr(module, method)({"category": "of_a_new_kind"}) is None


def test_each_prefix_leads_to_the_schema_of_its_feed():
    rows = re.findall(r"\| `(\S+/)` \| `(\S+)` \| `(\S+)` \|", read("panther"))
    assert [prefix for prefix, _, _ in rows] == [f"onepassword/v1/{feed}/" for feed in FEEDS]
    for (prefix, native, custom), feed in zip(rows, FEEDS, strict=True):
        assert (native, custom) == (f"OnePassword.{LOG_TYPES[feed]}", SCHEMAS[feed]["schema"])
        for other in FEEDS:
            assert {key.startswith(prefix) for key in keys()[other]} == {other == feed}
        assert not [key for key in FOREIGN if key.startswith("quarantine/") and key.startswith(prefix)]


def test_the_subscriptions_are_for_a_queue_of_panther_and_one_has_a_role():
    source, history = deployments("panther")
    for deployment in (source, history):
        assert deployment.parameters["Delivery"] == "sns-cross-account"
        queue = "arn:aws:sqs:us-west-2:111122223333:panther-input-data-notifications-queue"
        assert deployment.parameters["Endpoint"] == queue
    assert source.parameters["PrincipalArn"] == "arn:aws:iam::111122223333:root"
    assert source.parameters["TopicArn"] != history.parameters["TopicArn"]
