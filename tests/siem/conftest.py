import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("deploy", "athena")]

from world import FEEDS, World, await_that  # noqa: E402


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    # Lambda's sockets need a short path.
    folder = tmp_path_factory.mktemp("siem")
    world = World(folder)
    yield world
    world.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def attached(world):
    """All consumers, attached before anything was collected."""
    return world.attach()


@pytest.fixture(scope="session")
def told(world, attached) -> list[str]:
    """Has the collector write the lake; returns what S3 told the topic, without filter or envelope."""
    queue, arn = world.queue("unfiltered", "sns")
    world.sns.subscribe(
        TopicArn=world.lake["ObjectsTopicArn"], Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"}
    )
    # S3 sends a test event whenever notifications are configured.
    configuration = world.s3.get_bucket_notification_configuration(Bucket=world.bucket)
    del configuration["ResponseMetadata"]
    world.s3.put_bucket_notification_configuration(Bucket=world.bucket, NotificationConfiguration=configuration)
    world.collect()
    objects = len(world.objects())
    assert objects >= len(FEEDS)
    tests = len(configuration["TopicConfigurations"])
    await_that(lambda: world.count(queue) == objects + tests, "messages of the topic")
    bodies = world.bodies(queue)
    assert sum(json.loads(body).get("Event") == "s3:TestEvent" for body in bodies) == tests
    return [body for body in bodies if "Records" in json.loads(body)]
