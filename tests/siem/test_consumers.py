"""What the collector writes, as models of the consumers take it from the deployed stacks.

consumers.py says where the rules of each model are from. What the local stack
does not do as AWS does is put right in run_ministack.py.
"""

import json
import re
import urllib.parse

import consumers
import pytest
from world import FEEDS, PREFIX, await_that, drain

NAMES = ["splunk", "elastic", "vector", "sentinel", "datadog", "panther", "sumo"]


def test_a_notification_has_the_form_of_s3(world, told):
    objects = {item["Key"]: item for item in world.objects()}
    seen = set()
    for body in told:
        (record,) = json.loads(body)["Records"]
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
        assert record["eventVersion"].startswith("2.")
        assert (record["eventSource"], record["awsRegion"]) == ("aws:s3", "us-east-1")
        assert record["eventName"] == "ObjectCreated:CompleteMultipartUpload"
        assert record["s3"]["bucket"]["name"] == world.bucket
        assert record["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{world.bucket}"
        found = record["s3"]["object"]
        assert found["key"] == urllib.parse.quote_plus(found["key"], safe="/")
        head = world.s3.head_object(Bucket=world.bucket, Key=found["key"])
        assert found["size"] == objects[found["key"]]["Size"] > 0
        assert found["eTag"] == head["ETag"].strip('"')
        assert found["versionId"] == head["VersionId"]
        assert re.fullmatch("[0-9A-F]+", found["sequencer"])
        seen.add(found["key"])
    assert seen == objects.keys()


def test_an_object_is_what_the_consumers_expect(world, told):
    for item in world.objects():
        assert re.fullmatch(
            rf"{PREFIX}({'|'.join(FEEDS)})/\d{{4}}-\d\d-\d\d/[A-Za-z0-9_.-]+/[^/]+\.json\.gz", item["Key"]
        )
        head = world.s3.head_object(Bucket=world.bucket, Key=item["Key"])
        assert head["ContentType"] == "application/x-ndjson"
        assert "ContentEncoding" not in head


QUEUES = ["splunk", "elastic", "vector", "sentinel", "panther"]


def hold_back(world, attached) -> list[tuple[str, str, str]]:
    """Takes every third message out of the queues."""
    held = []
    for name in QUEUES:
        one = attached[name]
        for queue in one.queues.values():
            messages = []
            while batch := one.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
                messages += batch
            for number, message in enumerate(messages):
                handle = {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]}
                if number % 3:
                    one.sqs.change_message_visibility(**handle, VisibilityTimeout=0)
                else:
                    one.sqs.delete_message(**handle)
                    held.append((name, queue, message["Body"]))
    return held


@pytest.fixture(scope="module")
def taken(world, attached, told):
    """All consumers have taken what they were told of: late, out of order and twice."""

    def work() -> None:
        for name in QUEUES:
            drain(attached[name], world.count)

    held = hold_back(world, attached)
    assert {name for name, _, _ in held} == set(QUEUES)
    work()
    for body in reversed(told):
        world.sns.publish(TopicArn=world.lake["ObjectsTopicArn"], Message=body)
    work()
    for name, queue, body in reversed(held):
        sqs = attached[name].sqs if name == "panther" else world.sqs
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    work()
    await_that(lambda: len(world.inbox.bodies) == 2 * len(told), "what is posted to Sumo's URL")
    for body in reversed(world.inbox.bodies):
        attached["sumo"].reader.take(body, "")
    return attached


@pytest.mark.parametrize("name", NAMES)
def test_every_consumer_gets_every_event_of_its_feed(world, taken, name):
    reader = taken[name].reader
    expected = {feed: set(world.simulator.uuids(feed)) for feed in FEEDS}
    if name == "datadog":
        queues = world.queues(name).values()
        await_that(lambda: not any(map(world.count, queues)), "the queues of the function")
        reader.refresh()
    assert {feed: reader.events(feed) for feed in FEEDS} == expected
    assert reader.garbage() == []
    assert all(not world.count(queue) for queue in world.dead_letters(name))


def test_sumo_finds_by_its_list_what_it_was_not_told_of(world, taken):
    told = taken["sumo"].reader
    reader = consumers.Sumo(told.s3, told.sns, PREFIX)
    reader.scan(world.bucket)
    assert {feed: reader.events(feed) for feed in FEEDS} == {feed: told.events(feed) for feed in FEEDS}
    before = len(reader.lines)
    reader.scan(world.bucket)
    assert len(reader.lines) == before
