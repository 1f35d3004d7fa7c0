"""The stacks of consumers as they are deployed: what they refuse, what they make, and what is left of them."""

import json

import consumers
import pytest
from botocore.exceptions import ClientError
from world import FEEDS, OUTPUTS, SIEM, Attached, await_that, drain

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:forwarder"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (dict(SigninAttempts="false", ItemUsages="false", AuditEvents="false"), "one feed at least"),
        (dict(Endpoint=FUNCTION), "Set Delivery, too"),
        (dict(Delivery="lambda", ExistingRoleName="forwarder"), "ARN of the function"),
        (dict(Delivery="lambda", Endpoint=FUNCTION), "name of the function's role"),
        (dict(Delivery="https", RawDelivery="false"), "for the queues made here"),
        (dict(PrincipalArn="arn:aws:iam::111122223333:root", ExistingRoleName="forwarder"), "one role"),
        (dict(ExternalId="splunk-1"), "Set PrincipalArn, too"),
        (dict(Delivery="https", Endpoint="http://example.com"), "https URL"),
        (dict(PrincipalArn="*"), "IAM role, user or account root"),
        (dict(KeyPrefix="onepassword/v1"), "segments of letters"),
        (dict(VisibilityTimeout="5"), "30 to 43200"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_made(world, parameters, said):
    known = {"BucketName": world.bucket, "TopicArn": world.lake["ObjectsTopicArn"]} | parameters
    with pytest.raises(ClientError) as refused:
        world.cloudformation.create_stack(
            StackName="refused",
            TemplateBody=(SIEM / "consumer.yaml").read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in known.items()],
        )
    assert said in str(refused.value)


def test_queues_keep_two_weeks_and_let_go_of_what_fails(world, attached):
    for feed, queue in world.queues("splunk").items():
        made = world.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        dead_letters = world.outputs["splunk"][f"{OUTPUTS[feed]}DeadLetterQueueUrl"]
        dead = world.sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["All"])["Attributes"]
        assert (made["MessageRetentionPeriod"], dead["MessageRetentionPeriod"]) == ("1209600", "1209600")
        assert (made["SqsManagedSseEnabled"], dead["SqsManagedSseEnabled"]) == ("true", "true")
        assert made["VisibilityTimeout"] == "900"
        redrive = json.loads(made["RedrivePolicy"])
        assert (redrive["deadLetterTargetArn"], int(redrive["maxReceiveCount"])) == (dead["QueueArn"], 5)


def test_alarms_watch_the_queues_and_tell_the_topic(world, attached):
    alarms = [
        alarm
        for page in world.local.client("cloudwatch").get_paginator("describe_alarms").paginate()
        for alarm in page["MetricAlarms"]
        if alarm["Namespace"] == "AWS/SQS" and alarm["AlarmName"].startswith("splunk-")
    ]
    names = {url.rsplit("/", 1)[1] for key, url in world.outputs["splunk"].items() if key.endswith("QueueUrl")}
    assert {alarm["Dimensions"][0]["Value"] for alarm in alarms} == names
    assert all(alarm["AlarmActions"] == [world.lake["AlarmTopicArn"]] for alarm in alarms)


def test_a_function_is_given_one_message_at_a_time(world, attached):
    mappings = world.__dict__["lambda"].list_event_source_mappings(FunctionName="forwarder")["EventSourceMappings"]
    assert {mapping["EventSourceArn"] for mapping in mappings} == world.queue_arns("datadog").keys()
    assert {mapping["BatchSize"] for mapping in mappings} == {1}


def test_subscriptions_elsewhere_are_confirmed_by_who_gets_them(world, attached):
    found = world.sns.list_subscriptions_by_topic(TopicArn=world.lake["ObjectsTopicArn"])["Subscriptions"]
    elsewhere = [
        item["SubscriptionArn"] for item in found if ":111122223333:" in item["Endpoint"] or item["Protocol"] == "https"
    ]
    assert len(elsewhere) == 2
    for arn in elsewhere:
        made = world.sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
        assert (made["PendingConfirmation"], made["RawMessageDelivery"]) == ("false", "false")
        keys = json.loads(made["FilterPolicy"])["Records"]["s3"]["object"]["key"]
        assert keys == [{"prefix": f"onepassword/v1/{feed}/"} for feed in FEEDS]
        assert "deadLetterTargetArn" in json.loads(made["RedrivePolicy"])


def tell(world, feed: str) -> None:
    key = f"onepassword/v1/{feed}/2026-01-02/main/20260102T030405Z-00.json.gz"
    message = {"Records": [{"eventName": "ObjectCreated:CompleteMultipartUpload", "s3": {"object": {"key": key}}}]}
    world.sns.publish(TopicArn=world.topic, Message=json.dumps(message))


@pytest.fixture
def topic(world):
    """A topic beside the lake's, so that no consumer is told of what is not there."""
    world.topic = world.sns.create_topic(Name="beside")["TopicArn"]
    return world.topic


def test_a_queue_gets_raw_messages_or_envelopes_of_its_feed_alone(world, topic):
    world.deploy("raw", TopicArn=topic)
    world.deploy("enveloped", TopicArn=topic, RawDelivery="false")
    for feed in FEEDS:
        tell(world, feed)
    world.sns.publish(TopicArn=topic, Message='{"Service": "Amazon S3", "Event": "s3:TestEvent"}')
    for feed in FEEDS:
        queues = world.queues("raw")[feed], world.queues("enveloped")[feed]
        await_that(lambda queues=queues: all(map(world.count, queues)), "the messages")
        (raw,), (enveloped,) = map(world.bodies, queues)
        assert f"/{feed}/" in json.loads(raw)["Records"][0]["s3"]["object"]["key"]
        assert json.loads(enveloped)["Message"] == raw


def test_without_its_filter_a_queue_has_everything_and_splunk_stumbles(world, topic):
    """So it is the filter that the tests above see at work."""
    body = (SIEM / "consumer.yaml").read_text()
    lines = [line for line in body.splitlines() if "FilterPolicy" not in line]
    assert len(body.splitlines()) - len(lines) == 8
    template = "\n".join(lines).replace(
        "        Records:\n          s3:\n            object:\n              key:\n", ""
    )
    template = "\n".join(line for line in template.splitlines() if not line.startswith("                - !If [Has"))
    world.deploy("unfiltered", body=template, TopicArn=topic, MaxReceiveCount="2")
    tell(world, "item_usages")
    world.sns.publish(TopicArn=topic, Message='{"Service": "Amazon S3", "Event": "s3:TestEvent"}')
    queue = world.queues("unfiltered")["audit_events"]
    await_that(lambda: world.count(queue) == 2, "the messages of another feed and of the test")

    class Reader(consumers.Splunk):
        def read(self, record):
            return [record["s3"]["object"]["key"]]

    reader = Reader(world.s3)
    drain(Attached(reader, world.sqs, {"audit_events": queue}), world.count)
    assert [(feed, "/item_usages/" in key) for feed, key in reader.lines] == [("audit_events", True)]
    (dead,) = world.bodies(world.outputs["unfiltered"]["AuditEventsDeadLetterQueueUrl"])
    assert json.loads(dead)["Event"] == "s3:TestEvent"


def test_nothing_is_left_of_a_stack(world, topic):
    before = {
        item["SubscriptionArn"] for item in world.sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    }
    world.role("leaver", {"AWS": "arn:aws:iam::000000000000:root"})
    world.deploy("leaver", TopicArn=topic, ExistingRoleName="leaver")
    assert world.iam.list_attached_role_policies(RoleName="leaver")["AttachedPolicies"]
    world.cloudformation.delete_stack(StackName="leaver")
    world.cloudformation.get_waiter("stack_delete_complete").wait(StackName="leaver", WaiterConfig={"Delay": 1})
    after = {item["SubscriptionArn"] for item in world.sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]}
    assert after == before
    assert not [url for url in world.sqs.list_queues()["QueueUrls"] if "/leaver-" in url]
    assert not world.iam.list_attached_role_policies(RoleName="leaver")["AttachedPolicies"]
