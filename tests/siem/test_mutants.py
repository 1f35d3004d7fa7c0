"""What is wrong with an object or a message fails the consumers that are known to fail with it, and no other."""

import copy
import gzip
import json
import urllib.parse

import consumers
import pytest
from world import FEEDS, PREFIX

BUCKET = "mutants"
FEED = "audit_events"
KEY = f"{PREFIX}{FEED}/2026-01-02/main/20260102T030405Z-0123456789abcdef.json.gz"
EVENTS = [{"uuid": f"EVENT{number}", "timestamp": "2026-01-02T03:04:05Z"} for number in range(3)]
OBJECT = gzip.compress("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in EVENTS).encode(), mtime=0)
# Those that the stacks tell by SNS's envelope; the queues have raw messages.
ENVELOPED = {"panther", "sumo"}


def models(world) -> dict[str, consumers.Consumer]:
    return {
        "splunk": consumers.Splunk(world.s3),
        "elastic": consumers.Elastic(world.s3),
        "vector": consumers.Vector(world.s3),
        "datadog": consumers.Datadog(world.s3),
        "panther": consumers.Panther(world.s3, world.sns),
        "sumo": consumers.Sumo(world.s3, world.sns, PREFIX),
        "documented": consumers.Documented(world.s3, str(world.local.ca)),
    }


@pytest.fixture(scope="module")
def record(world, told) -> dict:
    """A notification of the stack, about another object."""
    world.s3.create_bucket(Bucket=BUCKET)
    world.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    record = json.loads(told[0])["Records"][0]
    record["s3"]["bucket"] |= {"name": BUCKET, "arn": f"arn:aws:s3:::{BUCKET}"}
    return record


def put(world, record: dict, key: str = KEY, **more) -> dict:
    """Puts the object, and returns what S3 would tell of it."""
    written = {"ContentType": "application/x-ndjson"} | more
    version = world.s3.put_object(Bucket=BUCKET, Key=key, Body=OBJECT, **written)
    told = copy.deepcopy(record)
    told["s3"]["object"] |= {
        "key": urllib.parse.quote_plus(key, safe="/"),
        "size": len(OBJECT),
        "eTag": version["ETag"].strip('"'),
        "versionId": version["VersionId"],
    }
    return told


def raw(record: dict) -> str:
    return json.dumps({"Records": [record]})


def envelope(message: str) -> str:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html"""
    topic = "arn:aws:sns:us-east-1:000000000000:objects"
    return json.dumps({"Type": "Notification", "TopicArn": topic, "Message": message, "Signature": "c2ln"})


def eventbridge(record: dict) -> dict:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html"""
    found = record["s3"]["object"]
    key = urllib.parse.unquote_plus(found["key"])
    return {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "region": record["awsRegion"],
        "time": "2026-01-02T03:04:05Z",
        "detail": {
            "bucket": {"name": BUCKET},
            "object": {"key": key, "size": found["size"], "etag": found["eTag"], "sequencer": found["sequencer"]},
            "reason": "CompleteMultipartUpload",
        },
    }


def failing(world, bodies: dict[str, list[str]]) -> dict[str, str]:
    """The consumers that don't have exactly the events after their messages.

    "stuck" is one that keeps a message, which ends among the dead letters;
    "lost" one whose messages are gone.
    """
    failed = {}
    for name, model in models(world).items():
        for body in bodies[name]:
            try:
                model.take(body, FEED)
            except consumers.Stuck:
                failed[name] = "stuck"
        if model.events(FEED) != {event["uuid"] for event in EVENTS} or model.garbage():
            failed.setdefault(name, "lost")
    return failed


def in_the_form_of_each(world, record: dict) -> dict[str, list[str]]:
    return {name: [envelope(raw(record)) if name in ENVELOPED else raw(record)] for name in models(world)}


def test_an_object_of_the_lake_fails_nobody(world, record):
    assert failing(world, in_the_form_of_each(world, put(world, record))) == {}


@pytest.mark.parametrize(
    ("key", "written", "expected"),
    [
        # These choose by the suffix. The others look into the object, or are told that it is gzip.
        (KEY.removesuffix(".gz"), {}, dict.fromkeys(["splunk", "vector", "sumo"], "lost")),
        # An HTTP client that decodes hands over what is no gzip any more.
        (KEY, {"ContentEncoding": "gzip"}, {"documented": "stuck"}),
        # S3 writes a space as "+": not every decoder knows.
        (KEY.replace("/main/", "/my account/"), {}, {"panther": "stuck", "documented": "stuck"}),
        (KEY.replace("/2026-01-02/", "/day=2026-01-02/"), {}, {"documented": "stuck"}),
        # Nobody needs the type of the lake's objects; Elastic reads them as one stream by it.
        (KEY, {"ContentType": "binary/octet-stream"}, {}),
    ],
    ids=["no .gz", "Content-Encoding", "space", "k=v", "Content-Type"],
)
def test_an_object_that_is_not_as_agreed(world, record, key, written, expected):
    assert failing(world, in_the_form_of_each(world, put(world, record, key, **written))) == expected


def test_an_object_that_is_gone(world, record):
    # The Forwarder goes on after an error, and so its message is deleted.
    told = put(world, record, KEY.replace("/main/", "/gone/"))
    told["s3"]["object"] |= {"key": f"{told['s3']['object']['key']}x.gz", "versionId": "no-such-version"}
    expected = dict.fromkeys(models(world), "stuck") | {"datadog": "lost", "sumo": "lost"}
    assert failing(world, in_the_form_of_each(world, told)) == expected


def test_a_notification_of_another_region(world, record):
    told = put(world, record) | {"awsRegion": "eu-west-1"}
    assert failing(world, in_the_form_of_each(world, told)) == {"vector": "stuck"}


def test_a_notification_without_size(world, record):
    told = put(world, record)
    told["s3"]["object"]["size"] = 0
    assert failing(world, in_the_form_of_each(world, told)) == {"splunk": "lost", "panther": "lost"}


def test_a_notification_of_a_deletion_is_let_go(world, record):
    removed = put(world, record) | {"eventName": "ObjectRemoved:Delete"}
    told = in_the_form_of_each(world, put(world, record))
    for name in ("splunk", "elastic", "vector"):
        told[name].insert(0, raw(removed))
    assert failing(world, told) == {}


def test_an_envelope_in_a_queue(world, record):
    body = envelope(raw(put(world, record)))
    assert failing(world, dict.fromkeys(models(world), [body])) == {"documented": "stuck"}


def test_envelopes_and_raw_messages_in_one_queue(world, record):
    told = put(world, record)
    both = [envelope(raw(told)), raw(told)]
    bodies = {name: both[:1] if name in ENVELOPED else both for name in models(world)}
    assert failing(world, bodies) == {"splunk": "stuck", "documented": "stuck"}


def test_a_raw_message_where_the_envelope_is_expected(world, record):
    body = raw(put(world, record))
    bodies = {name: [body] for name in models(world)} | {"sumo": [envelope(body)]}
    assert failing(world, bodies) == {"panther": "stuck"}


def test_a_queue_without_filter_gets_the_test_event(world, record):
    test = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET})
    told = in_the_form_of_each(world, put(world, record))
    bodies = {name: [envelope(test) if name in ENVELOPED else test, *told[name]] for name in told}
    assert failing(world, bodies) == {"splunk": "stuck", "documented": "stuck"}


def test_a_queue_without_filter_gets_what_is_of_another_feed(world, record):
    # Who names the feed by the key is right in any case.
    told = in_the_form_of_each(world, put(world, record, KEY.replace(FEED, "item_usages")))
    labelled = {}
    for name, model in models(world).items():
        model.take(told[name][0], FEED)
        labelled[name] = {feed for feed in FEEDS if model.events(feed)}
    assert labelled == {name: {"item_usages"} if name in ENVELOPED else {FEED} for name in labelled}


def test_eventbridge_without_its_transformer(world, record):
    body = json.dumps(eventbridge(put(world, record)))
    bodies = {name: [body] for name in models(world)} | {"panther": [envelope(body)], "sumo": [envelope(body)]}
    # Sumo finds the object when it lists.
    stuck, lost = ["vector", "panther", "documented"], ["elastic", "datadog", "sumo"]
    assert failing(world, bodies) == dict.fromkeys(stuck, "stuck") | dict.fromkeys(lost, "lost")


def test_the_forwarder_reads_the_first_record_alone(world, record):
    # Which is why the mappings of a function have a BatchSize of 1.
    first, second = (put(world, record, KEY.replace("/main/", f"/{name}/")) for name in ("a", "b"))
    model = consumers.Datadog(world.s3)
    model.take(json.dumps({"Records": [first, second]}), FEED)
    assert len(model.lines) == len(EVENTS)
