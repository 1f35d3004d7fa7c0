"""infra/siem/sentinel/azuredeploy.json, as far as it can be checked without Azure.

The transformations are run by a model of the few features of KQL that they use.
"""

import json
import re
from collections import Counter
from datetime import datetime

import pytest
from events import FEEDS, collected
from programs import ROOT

# https://github.com/Azure/Azure-Sentinel, Solutions/1Password/Data Connectors/1Password_ccpv2/1Password_tables.json
TABLE = "OnePasswordEventLogs_CL"
COLUMNS = dict(
    column.split(":")
    for column in """
        SourceSystem:string TimeGenerated:datetime uuid_s:string session_uuid:string timestamp:datetime country:string
        category:string action_type:string details:dynamic target_user:dynamic client:dynamic location:dynamic
        actor_uuid:string actor_details:dynamic actor_type:string actor_account_uuid:string account_uuid:string
        user_type:string user_account_uuid:string action:string object_type:string object_uuid:string
        object_details:dynamic aux_id:int aux_uuid:string aux_details:dynamic aux_info:string session:dynamic
        used_version:int vault_uuid:string item_uuid:string user:dynamic log_source:string
    """.split()
)
# Set by Azure, or by no event of the API: users have a type, events have none.
NOT_OURS = {"SourceSystem", "user_type", "user_account_uuid"}

# What the queries in https://github.com/Azure/Azure-Sentinel, Solutions/1Password/Analytics Rules/*.yaml
# read of the rows of each log_source, where the API has it.
SOURCES = {"signin_attempts": "signinattempts", "item_usages": "itemusages", "audit_events": "auditevents"}
READ_BY_RULES = {
    "signin_attempts": """
        category action_type target_user.uuid target_user.email client.ip_address location.country
    """.split(),
    "item_usages": """
        action user.uuid user.email vault_uuid item_uuid client.ip_address location.country
    """.split(),
    "audit_events": """
        action object_type object_uuid object_details.uuid object_details.email actor_details.uuid actor_details.email
        aux_uuid aux_details.uuid aux_details.email aux_info session.ip location.country
    """.split(),
}

INT = range(-(2**31), 2**31)
LONG = range(-(2**63), 2**63)
NOW = "now"


@pytest.fixture
def template() -> dict:
    return json.loads((ROOT / "infra/siem/sentinel/azuredeploy.json").read_text())


def stream(feed: str) -> str:
    return "Custom-OnePassword" + feed.title().replace("_", "")


def one(template: dict, kind: str) -> dict:
    (resource,) = (resource for resource in template["resources"] if resource["type"].endswith("/" + kind))
    return resource


# --- a model of a data collection rule -------------------------------------------

# Of what https://learn.microsoft.com/azure/azure-monitor/data-collection/data-collection-transformations-kql
# lists as supported: each function with the type of its result and what it does.
FUNCTIONS = {
    "now": ("datetime", lambda: NOW),
    "tostring": ("string", lambda value: "" if value is None else str(value)),
    "toint": ("int", lambda text: int(text) if re.fullmatch(r"-?\d+", text) and int(text) in INT else None),
}
TOKEN = re.compile(r"\s*(?:\['(?P<quoted>[^']+)'\]|'(?P<string>[^']*)'|(?P<name>[\w-]+)|(?P<sign>[|=,()]))")


def tokens(kql: str) -> list[tuple[str, str]]:
    found, end = [], 0
    while kql[end:].strip():
        token = TOKEN.match(kql, end)
        assert token, f"cannot read {kql[end:]!r}"
        found.append(("name" if token.lastgroup == "quoted" else token.lastgroup, token[token.lastgroup]))
        end = token.end()
    return found


class Transform:
    """`source`, then `extend` and `project-rename`, over strings, columns and FUNCTIONS."""

    def __init__(self, kql: str, columns: dict[str, str]):
        self.tokens = tokens(kql)
        self.types = dict(columns)
        self.steps = []
        assert self.tokens.pop(0) == ("name", "source")
        while self.tokens:
            self.expect("|")
            operator = self.tokens.pop(0)[1]
            assert operator in ("extend", "project-rename"), f"{operator} is not modelled"
            assigned = [self.assignment(operator)]
            while self.tokens and self.tokens[0] == ("sign", ","):
                self.tokens.pop(0)
                assigned.append(self.assignment(operator))
            # Expressions see the row before the operator.
            for name, kind, _, source in assigned:
                if source:
                    assert name not in self.types, f"{name} is there already"
                    del self.types[source]
                self.types[name] = kind
            self.steps.append(assigned)

    def expect(self, sign: str) -> None:
        assert self.tokens.pop(0) == ("sign", sign)

    def assignment(self, operator: str):
        kind, name = self.tokens.pop(0)
        assert kind == "name"
        self.expect("=")
        source = self.tokens[0][1] if operator == "project-rename" else None
        assert not source or self.tokens[0][0] == "name"
        return name, *self.expression(), source

    def expression(self):
        kind, text = self.tokens.pop(0)
        if kind == "string":
            return "string", lambda row: text
        assert kind == "name", f"unexpected {text}"
        if not (self.tokens and self.tokens[0] == ("sign", "(")):
            assert text in self.types, f"{text} is no column"
            return self.types[text], lambda row: row[text]
        self.expect("(")
        arguments = []
        while self.tokens[0] != ("sign", ")"):
            arguments.append(self.expression()[1])
        self.expect(")")
        result, function = FUNCTIONS[text]
        return result, lambda row: function(*(argument(row) for argument in arguments))

    def run(self, row: dict) -> dict:
        for assigned in self.steps:
            values = {name: value(row) for name, _, value, _ in assigned}
            gone = {source for *_, source in assigned if source}
            row = {name: value for name, value in row.items() if name not in gone} | values
        return row


def taken(event: dict, columns: dict[str, str]) -> dict:
    """A row of a stream: the declared columns, each with a value of its type or none."""
    fits = {
        "string": lambda value: isinstance(value, str),
        "datetime": lambda value: bool(datetime.fromisoformat(value)),
        "long": lambda value: type(value) is int and value in LONG,
        "int": lambda value: type(value) is int and value in INT,
        "dynamic": lambda value: True,
    }
    row = {name: event.get(name) for name in columns}
    for name, value in row.items():
        assert value is None or fits[columns[name]](value), f"{name} is {columns[name]}, not {value!r}"
    return row


class Rule:
    """The streams of the rule, by feed, with what becomes of their events."""

    def __init__(self, template: dict):
        properties = one(template, "dataCollectionRules")["properties"]
        self.columns, self.transforms = {}, {}
        declared = properties["streamDeclarations"]
        for flow in properties["dataFlows"]:
            (feed,) = (feed for feed in FEEDS if [stream(feed)] == flow["streams"])
            assert flow["outputStream"] == f"Custom-{TABLE}"
            (workspace,) = properties["destinations"]["logAnalytics"]
            assert flow["destinations"] == [workspace["name"]]
            columns = declared[stream(feed)]["columns"]
            self.columns[feed] = {column["name"]: column["type"] for column in columns}
            assert len(self.columns[feed]) == len(columns), "a column stands twice"
            self.transforms[feed] = Transform(flow["transformKql"], self.columns[feed])
        assert len(self.transforms) == len(declared) == len(FEEDS)

    def row(self, feed: str, event: dict) -> dict:
        return self.transforms[feed].run(taken(event, self.columns[feed]))


def value_at(row: dict, path: str):
    for name in path.split("."):
        row = (row or {}).get(name)
    return row


# --- what the checks ask ---------------------------------------------------------


def table_is_the_official_one(template):
    schema = one(template, "tables")["properties"]["schema"]
    assert schema["name"] == TABLE
    assert {column["name"]: column["type"] for column in schema["columns"]} == COLUMNS


def output_fits_the_table(template):
    rule, filled = Rule(template), set()
    for transform in rule.transforms.values():
        assert transform.types.items() <= COLUMNS.items(), set(transform.types.items()) - COLUMNS.items()
        assert "TimeGenerated" in transform.types, "Azure demands it of every row"
        filled |= transform.types.keys()
    assert filled == COLUMNS.keys() - NOT_OURS


def what_the_api_sends_is_declared(template):
    rule = Rule(template)
    for feed in FEEDS:
        times_seen = Counter(name for line in collected()[feed] for name in json.loads(line))
        # What the simulator sends now and then stands for what the API may bring one day.
        unknown = {"risk"}
        assert times_seen.keys() - unknown == rule.columns[feed].keys()


def rows_are_right(template):
    rule = Rule(template)
    for feed in FEEDS:
        filled = set()
        for line in collected()[feed]:
            event = json.loads(line)
            row = rule.row(feed, event)
            assert (row["TimeGenerated"], row["log_source"], row["uuid_s"]) == (NOW, SOURCES[feed], event["uuid"])
            assert row.get("action_type") == event.get("type")
            kept = rule.columns[feed].keys() - {"uuid", "type"}
            assert {name: row[name] for name in kept} == {name: event.get(name) for name in kept}
            filled |= {path for path in READ_BY_RULES[feed] if value_at(row, path) not in (None, "")}
        assert filled == set(READ_BY_RULES[feed])


def audit_events_with_aux_id_are_audit_events(template):
    rule = Rule(template)
    with_aux_id = [event for event in map(json.loads, collected()["audit_events"]) if "aux_id" in event]
    assert 0 in {event["aux_id"] for event in with_aux_id} and len({event["action"] for event in with_aux_id}) > 1
    assert {rule.row("audit_events", event)["log_source"] for event in with_aux_id} == {"auditevents"}


def numbers_beyond_int_are_left_out(template):
    rule = Rule(template)
    for feed, name in ("item_usages", "used_version"), ("audit_events", "aux_id"):
        event = json.loads(collected()[feed][0])
        for value in 0, 1, -1, INT[0], INT[-1]:
            assert rule.row(feed, event | {name: value})[name] == value
        for value in INT[0] - 1, INT[-1] + 1, 2**32 - 1, LONG[0], LONG[-1]:
            assert rule.row(feed, event | {name: value})[name] is None
        del event[name]
        assert rule.row(feed, event)[name] is None


def connectors_read_each_feed_once(template):
    parameters = {
        "signin_attempts": "signinAttemptsQueueUrl",
        "item_usages": "itemUsagesQueueUrl",
        "audit_events": "auditEventsQueueUrl",
    }
    connectors = [resource for resource in template["resources"] if resource["type"].endswith("/dataConnectors")]
    read = {}
    for connector in connectors:
        assert connector["kind"] == "AmazonWebServicesS3"
        properties = connector["properties"]
        assert properties["dataFormat"] == {"Format": "JsonLine", "IsCompressed": True, "compressType": "Gzip"}
        assert properties["destinationTable"] == TABLE
        read[properties["dcrConfig"]["streamName"]] = properties["sqsUrls"]
        definition = one(template, "dataConnectorDefinitions")["properties"]["connectorUiConfig"]
        assert Arm(template).value(properties["connectorDefinitionName"]) == definition["id"]
    assert read == {stream(feed): [f"[parameters('{parameter}')]"] for feed, parameter in parameters.items()}


# --- a model of ARM's expressions ------------------------------------------------

GROUP = "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP"
EXPRESSION = re.compile(r"\s*(?:'(?P<string>[^']*)'|(?P<name>\w+)|(?P<sign>[(),.]))")


class Arm:
    """Expressions of `parameters`, `variables`, `concat`, `resourceId`, `resourceGroup` and `reference`."""

    def __init__(self, template: dict):
        self.template = template
        self.used = set()
        self.ids = {self.identify(resource): resource for resource in template["resources"]}
        assert len(self.ids) == len(template["resources"]), "a resource stands twice"

    def identify(self, resource: dict) -> str:
        return self.resource_id(resource["type"], *self.value(resource["name"]).split("/"))

    @staticmethod
    def resource_id(kind: str, *names: str) -> str:
        space, *types = kind.split("/")
        assert len(types) == len(names), f"{kind} has {len(types)} names, not {names}"
        return f"{GROUP}/providers/{space}" + "".join(
            f"/{each}/{name}" for each, name in zip(types, names, strict=True)
        )

    def value(self, text):
        """What a string of the template stands for."""
        if not (isinstance(text, str) and text.startswith("[") and text.endswith("]")):
            return text
        found, end = [], 1
        while end < len(text) - 1:
            token = EXPRESSION.match(text, end)
            assert token, f"cannot read {text[end:]!r}"
            found.append((token.lastgroup, token[token.lastgroup]))
            end = token.end()
        result = self.expression(found)
        assert not found, f"left over of {text}: {found}"
        return result

    def expression(self, rest: list):
        kind, text = rest.pop(0)
        if kind == "string":
            return text
        assert kind == "name" and rest.pop(0) == ("sign", "("), f"no call of a function: {text}"
        arguments = []
        while rest[0] != ("sign", ")"):
            arguments.append(self.expression(rest))
            if rest[0] == ("sign", ","):
                rest.pop(0)
        rest.pop(0)
        result = self.call(text, *arguments)
        while rest and rest[0] == ("sign", "."):
            rest.pop(0)
            result = result[rest.pop(0)[1]]
        return result

    def call(self, function: str, *arguments):
        if function in ("parameters", "variables"):
            self.used.add((function, arguments[0]))
            declared = self.template[function][arguments[0]]
            return self.value(declared) if function == "variables" else f"<{arguments[0]}>"
        if function == "concat":
            return "".join(arguments)
        if function == "resourceId":
            return self.resource_id(*arguments)
        if function == "resourceGroup":
            return {"location": "<location>"}
        if function == "reference":
            identity, version = arguments
            assert self.ids[identity]["apiVersion"] == version
            # What the resource has once it is made: https://learn.microsoft.com/azure/templates/microsoft.insights
            return {
                "dataCollectionEndpoints": {"logsIngestion": {"endpoint": f"endpoint of {identity}"}},
                "dataCollectionRules": {"immutableId": f"immutable id of {identity}"},
            }[self.ids[identity]["type"].split("/")[-1]]
        raise AssertionError(f"{function} is not modelled")


def strings(value):
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def expressions_resolve(template):
    arm = Arm(template)
    for text in strings([template["parameters"], template["resources"]]):
        arm.value(text)
    assert arm.used == {(kind, name) for kind in ("parameters", "variables") for name in template[kind]}
    for parameter in template["parameters"].values():
        assert parameter["type"] == "string" and parameter["metadata"]["description"]

    order = {}
    for identity, resource in arm.ids.items():
        order[identity] = [arm.value(text) for text in resource.get("dependsOn", [])]
        assert set(order[identity]) <= arm.ids.keys(), f"{identity} depends on what is not there"
        needed = {
            other for text in strings(resource["properties"]) for other in arm.ids if other in str(arm.value(text))
        }
        # Names of streams, tables and definitions are no expressions, but have to be there before.
        if "dcrConfig" in resource["properties"]:
            needed.add(arm.value(template["variables"]["definitionId"]))
        if "dataFlows" in resource["properties"]:
            needed.add(arm.identify(one(template, "tables")))
        assert needed == set(order[identity]), f"{identity} needs {needed}"
    done = set()
    while ready := {identity for identity, needs in order.items() if identity not in done and done.issuperset(needs)}:
        done |= ready
    assert done == order.keys(), "resources wait for each other"


def the_form_is_that_of_arm(template):
    assert set(template) == {"$schema", "contentVersion", "metadata", "parameters", "variables", "resources"}
    assert template["$schema"] == "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    for resource in template["resources"]:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d(-preview)?", resource["apiVersion"])
        assert set(resource) <= {"type", "apiVersion", "name", "location", "kind", "dependsOn", "properties"}
        assert re.fullmatch(r"Microsoft\.\w+(/\w+)+", resource["type"])


CHECKS = [
    table_is_the_official_one,
    output_fits_the_table,
    what_the_api_sends_is_declared,
    rows_are_right,
    audit_events_with_aux_id_are_audit_events,
    numbers_beyond_int_are_left_out,
    connectors_read_each_feed_once,
    expressions_resolve,
    the_form_is_that_of_arm,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_template(check, template):
    check(template)


@pytest.mark.parametrize(
    "text", ["source | where uuid == 'x'", "source | extend a = coalesce(uuid)", "source | extend a = gone", "uuid"]
)
def test_what_is_not_modelled_is_refused(text):
    with pytest.raises((AssertionError, KeyError)):
        Transform(text, {"uuid": "string"})


def column(name: str, kind: str) -> str:
    return json.dumps({"name": name, "type": kind})


@pytest.mark.parametrize(
    ("check", "old", "new"),
    [
        (table_is_the_official_one, column("aux_id", "int"), column("aux_id", "long")),
        (output_fits_the_table, "uuid_s = uuid, action_type", "action_type"),
        (output_fits_the_table, ", aux_id = toint(tostring(aux_id))", ""),
        (output_fits_the_table, ", " + column("session", "dynamic"), ""),
        (output_fits_the_table, "TimeGenerated = now(), ", ""),
        (what_the_api_sends_is_declared, column("session_uuid", "string") + ", ", ""),
        (rows_are_right, "log_source = 'signinattempts'", "log_source = 'signin'"),
        (rows_are_right, column("timestamp", "datetime"), column("timestamp", "long")),
        (audit_events_with_aux_id_are_audit_events, "'auditevents'", "'itemusages'"),
        (numbers_beyond_int_are_left_out, column("aux_id", "long"), column("aux_id", "int")),
        (connectors_read_each_feed_once, "parameters('itemUsagesQueueUrl')", "parameters('auditEventsQueueUrl')"),
        (connectors_read_each_feed_once, "JsonLine", "Json"),
        (expressions_resolve, "parameters('roleArn')", "parameters('role')"),
        (expressions_resolve, "\"[variables('ruleId')]\", ", ""),
        (expressions_resolve, "variables('ruleId'), '2022-06-01'", "variables('ruleId'), '2021-04-01'"),
        (expressions_resolve, "'), 'OnePasswordEventLogs_CL')]", "'), 'OnePassword_CL')]"),
        (expressions_resolve, "[concat(parameters", "[join(parameters"),
        (the_form_is_that_of_arm, '"2022-10-01-preview"', '"2022-10-preview"'),
    ],
)
def test_a_wrong_template_is_found(check, old, new, template):
    flat = json.dumps(template)
    assert old in flat
    with pytest.raises((AssertionError, KeyError)):
        check(json.loads(flat.replace(old, new)))
