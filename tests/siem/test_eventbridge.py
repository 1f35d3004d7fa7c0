"""A bucket whose notifications are somebody else's: EventBridge tells the topic in the form of S3."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from local_stack import ROOT
from test_mutants import ENVELOPED, FEED, KEY, OBJECT, envelope, failing, models
from world import await_that

BUCKET = "owned-by-others"
ENABLE = ROOT / "infra/siem/enable-eventbridge"


def enable(world, *arguments: str):
    """The command of the bucket's owner, with the Python of these tests, which has boto3."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [ENABLE, *arguments], env=world.local.environment() | {"PATH": path}, capture_output=True, text=True, timeout=60
    )


def notifications(world) -> dict:
    found = world.s3.get_bucket_notification_configuration(Bucket=BUCKET)
    del found["ResponseMetadata"]
    return found


@pytest.fixture(scope="module")
def theirs(world) -> str:
    """The queue that the bucket told before."""
    world.s3.create_bucket(Bucket=BUCKET)
    queue, arn = world.queue("theirs", "s3")
    rules = [{"Name": "prefix", "Value": "photos/"}]
    told = {
        "Id": "theirs",
        "QueueArn": arn,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": rules}},
    }
    world.s3.put_bucket_notification_configuration(
        Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [told]}
    )
    assert [json.loads(body)["Event"] for body in world.bodies(queue)] == ["s3:TestEvent"]
    return queue


def test_eventbridge_is_added_to_what_is_there(world, theirs):
    before = notifications(world)
    shown = enable(world, BUCKET)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert '+  "EventBridgeConfiguration": {}' in shown.stdout
    assert "nothing was written" in shown.stdout
    assert notifications(world) == before

    written = enable(world, BUCKET, "--apply")
    assert (written.returncode, written.stderr) == (0, "")
    assert notifications(world) == before | {"EventBridgeConfiguration": {}}
    again = enable(world, BUCKET, "--apply")
    assert (again.returncode, again.stdout) == (0, "EventBridge is on: nothing to do\n")


def test_a_bucket_that_is_not_there_is_an_error(world):
    refused = enable(world, "nobodys-bucket", "--apply")
    assert refused.returncode != 0
    assert "NoSuchBucket" in refused.stderr


def upload(world, key: str) -> None:
    """As the collector does."""
    upload = world.s3.create_multipart_upload(Bucket=BUCKET, Key=key, ContentType="application/x-ndjson")["UploadId"]
    place = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
    part = world.s3.upload_part(**place, PartNumber=1, Body=OBJECT)["ETag"]
    world.s3.complete_multipart_upload(**place, MultipartUpload={"Parts": [{"ETag": part, "PartNumber": 1}]})


def test_the_topic_is_told_as_s3_would(world, theirs):
    topic = world.sns.create_topic(Name="objects-of-others")["TopicArn"]
    world.deploy("eventbridge", "eventbridge.yaml", TopicArn=topic, BucketName=BUCKET)
    world.deploy("eventbridge-consumer", TopicArn=topic, BucketName=BUCKET)
    upload(world, "photos/1.json.gz")
    upload(world, KEY.replace(".json.gz", ".tmp"))
    upload(world, KEY.replace(FEED, "other"))
    upload(world, KEY)
    queues = world.queues("eventbridge-consumer")
    await_that(lambda: world.count(queues[FEED]) == 1, "the message of EventBridge")
    assert [world.count(queue) for queue in queues.values()] == [0, 0, 1]
    (body,) = world.bodies(queues[FEED])

    (record,) = json.loads(body)["Records"]
    head = world.s3.head_object(Bucket=BUCKET, Key=KEY)
    found = record["s3"]["object"]
    assert (record["eventSource"], record["awsRegion"]) == ("aws:s3", "us-east-1")
    assert record["eventName"] == "ObjectCreated:CompleteMultipartUpload"
    assert record["s3"]["bucket"] == {"name": BUCKET, "arn": f"arn:aws:s3:::{BUCKET}"}
    assert found.pop("sequencer")
    assert found == {"key": KEY, "size": len(OBJECT), "eTag": head["ETag"].strip('"')}

    bodies = {name: [envelope(body) if name in ENVELOPED else body] for name in models(world)}
    assert failing(world, bodies) == {}

    # What was told before is told still.
    assert [json.loads(told)["Records"][0]["s3"]["object"]["key"] for told in world.bodies(theirs)] == [
        "photos/1.json.gz"
    ]
