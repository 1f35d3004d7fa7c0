"""MiniStack, with what its CloudFormation lacks of the template. Run by local_stack.py.

Three resource types, each of which hands its properties to the service's own
call; Fn::Split in conditions; secrets without a value, which it makes with an
empty one; and attributes of what an update of a nested stack leaves alone.
"""

import json
import os
import sys

import ministack.app
from ministack.services import athena, cloudformation, cloudwatch, secretsmanager
from ministack.services.cloudformation import engine, provisioners


def call(answer: tuple) -> dict:
    status, _, body = answer
    if status >= 400:
        raise ValueError(f"{status}: {body!r}")
    return json.loads(body or b"{}")


def create_query(logical_id, props, stack_name):
    made = call(athena._create_named_query(props))
    return made["NamedQueryId"], {"NamedQueryId": made["NamedQueryId"]}


def delete_query(physical_id, props):
    athena._delete_named_query({"NamedQueryId": physical_id})


def create_secret_policy(logical_id, props, stack_name):
    policy = json.dumps(props["ResourcePolicy"])
    call(secretsmanager._put_resource_policy({"SecretId": props["SecretId"], "ResourcePolicy": policy}))
    return props["SecretId"], {"Id": props["SecretId"]}


def delete_secret_policy(physical_id, props):
    secretsmanager._delete_resource_policy({"SecretId": physical_id})


def create_composite(logical_id, props, stack_name):
    name = provisioners._physical_name(stack_name, logical_id)
    call(cloudwatch._put_composite_alarm({}, {"AlarmName": name} | props, False, is_json=True))
    return name, {"Arn": f"arn:aws:cloudwatch:us-east-1:000000000000:alarm:{name}"}


def delete_composite(physical_id, props):
    call(cloudwatch._delete_alarms({}, {"AlarmNames": [physical_id]}, False, is_json=True))


def create_secret(logical_id, props, stack_name):
    name, attributes = provisioners._sm_secret_create(logical_id, props, stack_name)
    if not props.keys() & {"SecretString", "GenerateSecretString"}:
        secretsmanager._secrets[name]["Versions"].clear()
    return name, attributes


provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]["create"] = create_secret
provisioners._RESOURCE_HANDLERS |= {
    "AWS::Athena::NamedQuery": {"create": create_query, "delete": delete_query},
    "AWS::SecretsManager::ResourcePolicy": {"create": create_secret_policy, "delete": delete_secret_policy},
    "AWS::CloudWatch::CompositeAlarm": {"create": create_composite, "delete": delete_composite},
}

update_resource = provisioners._update_resource


def update_resource_with_attributes(
    kind, physical_id, old_props, new_props, stack_name, logical_id=None, old_attrs=None
):
    if old_attrs is None:
        resources = cloudformation._stacks.get(stack_name, {}).get("_resources", {})
        old_attrs = resources.get(logical_id, {}).get("Attributes")
    return update_resource(kind, physical_id, old_props, new_props, stack_name, logical_id, old_attrs)


provisioners._update_resource = update_resource_with_attributes

evaluate_conditions = engine._evaluate_conditions


def evaluate_conditions_with_split(template, params):
    def split(node):
        if isinstance(node, list):
            return [split(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "Fn::Split" in node:
            delimiter, text = node["Fn::Split"]
            return params[text["Ref"]]["Value"].split(delimiter)
        return {name: split(item) for name, item in node.items()}

    conditions = split(template.get("Conditions", {}))
    return evaluate_conditions({"Conditions": conditions}, params)


for name, module in list(sys.modules.items()):
    if name.startswith("ministack.") and hasattr(module, "_evaluate_conditions"):
        module._evaluate_conditions = evaluate_conditions_with_split

if __name__ == "__main__":
    # A session of its own, so that an interrupt of the tests does not reach it.
    os.setsid()
    ministack.app.main()
