"""Reads infra/athena.yaml as CloudFormation does, for the functions that it uses."""

import base64
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "infra/athena.yaml"
PARAMETERS = {
    "BucketName": "lake",
    "KeyPrefix": "onepassword/v1/",
    "RetentionDays": 0,
    "KmsKeyArn": "",
    "DatabaseName": "onepassword",
    "ScanLimitBytes": 107374182400,
}
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::AccountId": "111122223333",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = object()


class Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions."""


def short_form(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        argument = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        argument = loader.construct_sequence(node, deep=True)
    else:
        argument = loader.construct_mapping(node, deep=True)
    return {name: argument}


Loader.add_multi_constructor("!", short_form)


class Stack:
    """The resources of the template with these parameters."""

    def __init__(self, text: str | None = None, **parameters):
        self.source = yaml.load(text or TEMPLATE.read_text(), Loader)
        self.parameters = PARAMETERS | parameters
        assert set(self.parameters) == set(self.source["Parameters"])
        self.resources = {name: self.resolve(body) for name, body in self.source["Resources"].items()}

    def of_type(self, kind: str) -> list[dict]:
        return [body["Properties"] for body in self.resources.values() if body["Type"] == kind]

    def tables(self) -> dict[str, dict]:
        return self._glue("EXTERNAL_TABLE")

    def views(self) -> dict[str, dict]:
        return self._glue("VIRTUAL_VIEW")

    def queries(self) -> dict[str, str]:
        return {query["Name"]: query["QueryString"] for query in self.of_type("AWS::Athena::NamedQuery")}

    def _glue(self, kind: str) -> dict[str, dict]:
        inputs = [table["TableInput"] for table in self.of_type("AWS::Glue::Table")]
        return {table["Name"]: table for table in inputs if table["TableType"] == kind}

    def condition(self, name: str) -> bool:
        return self.resolve(self.source["Conditions"][name])

    def resolve(self, node):
        if isinstance(node, list):
            resolved = [self.resolve(item) for item in node]
            return [item for item in resolved if item is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name == "Ref":
                return self.ref(argument)
            if name.startswith("Fn::"):
                return self.call(name.removeprefix("Fn::"), argument)
        resolved = {name: self.resolve(body) for name, body in node.items()}
        return {name: body for name, body in resolved.items() if body is not NO_VALUE}

    def ref(self, name: str):
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.parameters:
            return self.parameters[name]
        if name in PSEUDO:
            return PSEUDO[name]
        assert name in self.source["Resources"], name
        return f"<{name}>"

    def call(self, name: str, argument):
        if name == "If":
            condition, yes, no = argument
            return self.resolve(yes if self.condition(condition) else no)
        if name == "GetAtt":
            return f"<{argument}>"
        argument = self.resolve(argument)
        if name == "Sub":

            def replace(match):
                inner = match[1]
                if inner.startswith("!"):
                    return "${" + inner[1:] + "}"
                return f"<{inner}>" if "." in inner else str(self.ref(inner))

            return re.sub(r"\$\{([^}]+)\}", replace, argument)
        if name == "Join":
            return argument[0].join(argument[1])
        if name == "Base64":
            return base64.b64encode(argument.encode()).decode()
        if name == "Equals":
            return str(argument[0]) == str(argument[1])
        if name == "Not":
            return not argument[0]
        raise NotImplementedError(name)
