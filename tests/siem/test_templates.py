"""What the templates say, without deploying them; above all what the local stack does not evaluate."""

import json
import re

import pytest
import yaml
from local_stack import ROOT
from template import Loader

FILES = {
    str(path.relative_to(ROOT)): path
    for path in sorted((ROOT / "infra/siem").rglob("*.y*ml"))
    if "AWSTemplateFormatVersion" in path.read_text()
}
TEMPLATES = {name: yaml.load(path.read_text(), Loader) for name, path in FILES.items()}
CONSUMER = TEMPLATES["infra/siem/consumer.yaml"]
FEEDS = {"SigninAttempts": "signin_attempts", "ItemUsages": "item_usages", "AuditEvents": "audit_events"}
LAKE = yaml.load((ROOT / "template.yaml").read_text(), Loader)

parametrize = pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)


def each(value) -> list:
    return value if isinstance(value, list) else [value]


def branches(node) -> list:
    if isinstance(node, dict) and "Fn::If" in node:
        return [found for branch in node["Fn::If"][1:] for found in branches(branch)]
    return [] if node == {"Ref": "AWS::NoValue"} else [node]


def of_type(template: dict, kind: str) -> dict[str, dict]:
    return {name: body["Properties"] for name, body in template["Resources"].items() if body["Type"] == kind}


def documents(template: dict) -> dict[str, dict]:
    """What the roles may do."""
    found = {}
    for name, properties in of_type(template, "AWS::IAM::ManagedPolicy").items():
        found[name] = properties["PolicyDocument"]
    for name, properties in of_type(template, "AWS::IAM::Role").items():
        found |= {
            f"{name}.{policy['PolicyName']}": policy["PolicyDocument"] for policy in properties.get("Policies", [])
        }
    return found


def statements(document: dict) -> dict[str, dict]:
    return {found["Sid"]: found for item in document["Statement"] for found in branches(item)}


@parametrize
def test_what_is_suppressed_has_its_reason(template):
    for name, body in template["Resources"].items():
        for skipped in body.get("Metadata", {}).get("checkov", {}).get("skip", []):
            assert skipped["comment"], name


@parametrize
def test_everything_is_described(template):
    for name, body in (template["Parameters"] | template["Outputs"]).items():
        assert re.search(r"\w[.?]$", body["Description"]), name
    for kind, described in (("Role", "Description"), ("ManagedPolicy", "Description")):
        for name, properties in of_type(template, f"AWS::IAM::{kind}").items():
            assert properties[described], name
    for name, properties in of_type(template, "AWS::CloudWatch::Alarm").items():
        assert properties["AlarmDescription"].endswith("."), name


@parametrize
def test_every_parameter_is_in_a_group_has_a_good_default_and_is_used(template):
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(template["Parameters"])
    body = json.dumps([template.get("Conditions", {}), template["Resources"]])
    for name, parameter in template["Parameters"].items():
        assert f'{{"Ref": "{name}"}}' in body or f"${{{name}}}" in body, name
        if "AllowedPattern" in parameter:
            assert parameter["ConstraintDescription"], name
            assert "Default" not in parameter or re.search(parameter["AllowedPattern"], parameter["Default"]), name


@parametrize
def test_a_parameter_means_the_same_in_every_template(template):
    for name in ("TopicArn", "BucketName", "KeyPrefix", "KmsKeyArn", "AlarmTopicArn"):
        if name in template["Parameters"]:
            known = next(other for other in TEMPLATES.values() if name in other["Parameters"])["Parameters"][name]
            assert template["Parameters"][name]["AllowedPattern"] == known["AllowedPattern"]
            assert template["Parameters"][name].get("Default") == known.get("Default")
    for output in ("ObjectsTopicArn", "ArchiveBucketName", "AlarmTopicArn"):
        assert output in LAKE["Outputs"]


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        (
            "TopicArn",
            ["arn:aws:sns:eu-west-1:111122223333:a-b_c"],
            ["", "arn:aws:sqs:eu-west-1:111122223333:a", "a.fifo"],
        ),
        (
            "Endpoint",
            [
                "",
                "arn:aws:lambda:eu-west-1:111122223333:function:a",
                "arn:aws:lambda:eu-west-1:111122223333:function:a:live",
            ]
            + ["arn:aws:sqs:eu-west-1:111122223333:a", "https://collectors.sumologic.com/receiver/v1/sns/x"],
            ["forwarder", "http://a", "arn:aws:sqs:eu-west-1:111122223333:a.fifo", "https://a b"],
        ),
        (
            "PrincipalArn",
            [
                "",
                "arn:aws:iam::111122223333:root",
                "arn:aws-us-gov:iam::111122223333:role/a/b",
                "arn:aws:iam::111122223333:user/a",
            ],
            ["*", "111122223333", "arn:aws:iam::111122223333:role/*", "arn:aws:sts::111122223333:assumed-role/a/b"],
        ),
        ("ExternalId", ["", "us2:0000000000000131", "a-b"], ["a", "a b", "a*b"]),
        ("ExistingRoleName", ["", "OIDC_a", "forwarder-1"], ["arn:aws:iam::111122223333:role/a", "a/b"]),
    ],
)
def test_patterns_refuse_what_cannot_be_right(parameter, good, bad):
    pattern = CONSUMER["Parameters"][parameter]["AllowedPattern"]
    assert [text for text in good if not re.search(pattern, text)] == []
    assert [text for text in bad if re.search(pattern, text)] == []


def test_every_rule_says_what_to_do():
    for name, rule in CONSUMER["Rules"].items():
        for assertion in rule["Assertions"]:
            assert re.search(r"Set|Use", assertion["AssertDescription"]), name


def test_the_feeds_differ_in_their_names_alone():
    def of(parameter: str, part: dict) -> dict:
        text = json.dumps({name: body for name, body in part.items() if name.startswith(parameter)})
        return json.loads(text.replace(parameter, "Feed").replace(FEEDS[parameter], "feed"))

    for part in (CONSUMER["Resources"], CONSUMER["Outputs"], CONSUMER["Parameters"]):
        first, *others = (of(parameter, part) for parameter in FEEDS)
        assert first
        assert others == [first, first]


# Roles


@parametrize
def test_roles_allow_exact_actions_on_exact_resources(template):
    for name, document in documents(template).items():
        for statement in (found for item in document["Statement"] for found in branches(item)):
            assert statement["Effect"] == "Allow", name
            for action in (found for item in each(statement["Action"]) for found in branches(item)):
                assert "*" not in action, name
            for resource in (found for item in each(statement["Resource"]) for found in branches(item)):
                text = json.dumps(resource)
                assert text != '"*"', name
                # Of objects alone, behind the folder of a feed.
                feeds = "|".join(FEEDS.values())
                assert text.count("*") == bool(re.search(rf"\$\{{KeyPrefix\}}({feeds})/\*", text)), name


@parametrize
def test_nobody_comes_without_a_condition(template):
    for name, properties in of_type(template, "AWS::IAM::Role").items():
        for statement in properties["AssumeRolePolicyDocument"]["Statement"]:
            assert statement["Condition"], name
            assert "*" not in json.dumps(statement["Principal"]), name


@parametrize
def test_every_queue_is_encrypted_and_refuses_plain_http(template):
    queues = of_type(template, "AWS::SQS::Queue")
    policies = {each(body["Queues"])[0]["Ref"]: body for body in of_type(template, "AWS::SQS::QueuePolicy").values()}
    assert policies.keys() == queues.keys()
    for name, body in queues.items():
        assert True in branches(body["SqsManagedSseEnabled"]), name
        assert body["MessageRetentionPeriod"] == 14 * 24 * 3600, name
        deny = statements(policies[name]["PolicyDocument"])["DenyInsecureTransport"]
        assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
        for statement in statements(policies[name]["PolicyDocument"]).values():
            assert statement["Effect"] == "Deny" or "aws:SourceArn" in statement["Condition"]["ArnEquals"], name


# What the local stack does not evaluate


def test_lambda_may_take_the_queues_as_the_function():
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
    take = statements(CONSUMER["Resources"]["ReaderPolicy"]["Properties"]["PolicyDocument"])["TakeQueues"]
    assert {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"} <= set(take["Action"])
    for name in (f"{feed}FunctionMapping" for feed in FEEDS):
        assert CONSUMER["Resources"][name]["DependsOn"] == "ReaderPolicy"
        assert CONSUMER["Resources"][name]["Properties"]["BatchSize"] == 1


def test_keys_decrypt_for_their_service_alone():
    allowed = statements(CONSUMER["Resources"]["ReaderPolicy"]["Properties"]["PolicyDocument"])
    for sid, key, service in (("DecryptObjects", "KmsKeyArn", "s3"), ("DecryptMessages", "QueueKmsKeyArn", "sqs")):
        assert (allowed[sid]["Action"], allowed[sid]["Resource"]) == ("kms:Decrypt", {"Ref": key})
        via = allowed[sid]["Condition"]["StringEquals"]["kms:ViaService"]
        assert via == {"Fn::Sub": f"{service}.${{AWS::Region}}.${{AWS::URLSuffix}}"}


def test_what_cannot_be_delivered_is_kept():
    """https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html and
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html"""
    undelivered = {"Fn::GetAtt": "UndeliveredQueue.Arn"}
    subscription = CONSUMER["Resources"]["Subscription"]["Properties"]
    assert subscription["RedrivePolicy"]["deadLetterTargetArn"] == undelivered
    eventbridge = TEMPLATES["infra/siem/eventbridge.yaml"]
    (target,) = eventbridge["Resources"]["ObjectsRule"]["Properties"]["Targets"]
    assert target["DeadLetterConfig"]["Arn"] == undelivered
    for template, service in ((CONSUMER, "sns"), (eventbridge, "events")):
        policy = template["Resources"]["UndeliveredQueuePolicy"]["Properties"]["PolicyDocument"]
        allow = [found for found in policy["Statement"] if found["Effect"] == "Allow"]
        assert [found["Principal"] for found in allow] == [{"Service": f"{service}.amazonaws.com"}]


def test_eventbridge_tells_the_topic_by_a_role():
    """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html"""
    resources = TEMPLATES["infra/siem/eventbridge.yaml"]["Resources"]
    (target,) = resources["ObjectsRule"]["Properties"]["Targets"]
    assert (target["Arn"], target["RoleArn"]) == ({"Ref": "TopicArn"}, {"Fn::GetAtt": "RuleRole.Arn"})
    (allow,) = resources["RuleRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    assert (allow["Action"], allow["Resource"]) == ("sns:Publish", {"Ref": "TopicArn"})


def test_the_topic_lets_the_role_of_the_rule_publish():
    # Within an account a role needs no leave of the topic, as long as nothing is denied.
    policy = LAKE["Resources"]["ObjectsTopicPolicy"]["Properties"]["PolicyDocument"]
    denied = [found for found in policy["Statement"] if found["Effect"] == "Deny"]
    assert [found["Sid"] for found in denied] == ["DenyInsecureTransport"]


def test_the_identity_provider_of_microsoft_outlives_the_stack():
    sentinel = TEMPLATES["infra/siem/sentinel/aws.yaml"]["Resources"]
    provider, trust = sentinel["OidcProvider"], sentinel["SentinelRole"]["Properties"]["AssumeRolePolicyDocument"]
    assert (provider["DeletionPolicy"], provider["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    host = provider["Properties"]["Url"].removeprefix("https://")
    (statement,) = trust["Statement"]
    (audience,) = provider["Properties"]["ClientIdList"]
    assert statement["Condition"]["StringEquals"][f"{host}:aud"] == audience
    assert statement["Principal"]["Federated"]["Fn::If"][2]["Fn::Sub"].endswith(f":oidc-provider/{host}")
