"""What `oplake replay` sends for objects that are there already, as the models of the consumers take it."""

import subprocess
from datetime import UTC, datetime, timedelta

import consumers
import pytest
from local_stack import TEST
from programs import program
from test_mutants import models
from world import FEEDS, PANTHER, Attached, drain


def day(offset: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=offset)).isoformat()


def replay(world, target: str, feeds: list[str]) -> None:
    journal = world.folder / f"{target.rsplit('/', 1)[-1]}.journal"
    command = [program("OPLAKE", "oplake"), "replay", "--archive", f"s3://{world.bucket}", "--feeds", ",".join(feeds)]
    command += ["--from", day(-5), "--to", day(1), "--target", target, "--ca-file", str(world.local.ca)]
    command += ["--journal", str(journal)]
    answer = subprocess.run(command, env=world.local.environment(), capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def has_everything(world, reader) -> bool:
    found = {feed: reader.events(feed) for feed in FEEDS}
    return found == {feed: set(world.simulator.uuids(feed)) for feed in FEEDS} and not reader.garbage()


@pytest.mark.parametrize("name", ["splunk", "elastic", "vector", "datadog", "documented"])
def test_a_consumer_that_comes_late_gets_the_history(world, told, name):
    stack = f"late-{name}"
    world.deploy(stack)
    queues = world.queues(stack)
    for feed, queue in queues.items():
        replay(world, queue, [feed])
    reader = models(world)[name]
    drain(Attached(reader, world.sqs, queues), world.count)
    assert has_everything(world, reader)
    assert all(not world.count(queue) for queue in world.dead_letters(stack))
    world.cloudformation.delete_stack(StackName=stack)


def test_panther_gets_the_history_by_a_topic_of_its_own(world, told):
    topic = world.sns.create_topic(Name="history")["TopicArn"]
    sqs = world.local.client("sqs", PANTHER, TEST)
    queue = sqs.create_queue(QueueName="history")["QueueUrl"]
    policy = world.queue_policy(f"arn:aws:sqs:us-east-1:{PANTHER}:history", {"Service": "sns.amazonaws.com"})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    endpoint = f"arn:aws:sqs:us-east-1:{PANTHER}:history"
    world.deploy("history", TopicArn=topic, Delivery="sns-cross-account", Endpoint=endpoint)
    panther = Attached(consumers.Panther(world.s3, world.local.client("sns", PANTHER, TEST)), sqs, {"": queue})
    drain(panther, world.count)
    replay(world, topic, FEEDS)
    drain(panther, world.count)
    assert has_everything(world, panther.reader)
