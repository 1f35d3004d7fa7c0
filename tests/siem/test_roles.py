"""Each consumer may do what its documentation says that it needs, and nothing else.

What the local stack does not evaluate is in test_templates.py.
"""

import copy
import json
from contextlib import contextmanager

import pytest
from botocore.exceptions import ClientError
from local_stack import ACCOUNT, TEST
from world import AUDIENCE, ISSUER, PANTHER, PREFIX, SUMO, WORKSPACE, web_token

DENIED = "AccessDenied|AuthorizationError|not authorized"
ACTIONS = {
    "sqs:ReceiveMessage": lambda at: at.sqs.receive_message(QueueUrl=at.queue, VisibilityTimeout=0),
    "sqs:DeleteMessage": lambda at: at.sqs.delete_message(QueueUrl=at.queue, ReceiptHandle=at.handle()),
    "sqs:ChangeMessageVisibility": lambda at: at.sqs.change_message_visibility(
        QueueUrl=at.queue, ReceiptHandle=at.handle(), VisibilityTimeout=0
    ),
    "sqs:GetQueueAttributes": lambda at: at.sqs.get_queue_attributes(QueueUrl=at.queue, AttributeNames=["All"]),
    "sqs:GetQueueUrl": lambda at: at.sqs.get_queue_url(QueueName=at.queue.rsplit("/", 1)[1]),
    "s3:GetObject": lambda at: at.s3.get_object(Bucket=at.bucket, Key=at.key),
    "s3:GetObjectVersion": lambda at: at.s3.get_object(Bucket=at.bucket, Key=at.key, VersionId=at.version),
    "s3:ListBucket": lambda at: at.s3.list_objects_v2(Bucket=at.bucket, Prefix=PREFIX),
    "s3:ListBucketVersions": lambda at: at.s3.list_object_versions(Bucket=at.bucket, Prefix=PREFIX),
    "s3:GetBucketLocation": lambda at: at.s3.get_bucket_location(Bucket=at.bucket),
}
QUEUE = {action for action in ACTIONS if action.startswith("sqs:")} | {"s3:GetObject", "s3:GetObjectVersion"}
# What each may do. Those that take queues have one policy: of its actions,
# GetObjectVersion is Splunk's and GetQueueUrl Sentinel's.
GRANTED = {
    "splunk": QUEUE,
    "elastic": QUEUE,
    "vector": QUEUE,
    # https://learn.microsoft.com/azure/sentinel/connect-aws-configure-environment
    "sentinel": QUEUE | {"s3:ListBucket"},
    # https://docs.panther.com/data-onboarding/data-transports/aws/s3
    "panther": {"s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"},
    # https://help.sumologic.com/docs/send-data/hosted-collectors/amazon-aws/grant-access-aws-product
    "sumo": {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"},
}
FORBIDDEN = {
    "write an object": lambda at: at.s3.put_object(Bucket=at.bucket, Key=f"{at.key}x", Body=b""),
    "delete an object": lambda at: at.s3.delete_object(Bucket=at.bucket, Key=at.key),
    "read the quarantine": lambda at: at.s3.get_object(Bucket=at.bucket, Key=f"quarantine/{at.key}"),
    "read beside the feeds": lambda at: at.s3.get_object(Bucket=at.bucket, Key=f"{PREFIX}other/{at.key}"),
    "list the whole bucket": lambda at: at.s3.list_objects_v2(Bucket=at.bucket),
    "list the quarantine": lambda at: at.s3.list_objects_v2(Bucket=at.bucket, Prefix=f"quarantine/{PREFIX}"),
    "list buckets": lambda at: at.s3.list_buckets(),
    "read the bucket's policy": lambda at: at.s3.get_bucket_policy(Bucket=at.bucket),
    "change the notifications": lambda at: at.s3.put_bucket_notification_configuration(
        Bucket=at.bucket, NotificationConfiguration={}
    ),
    "send to its queue": lambda at: at.sqs.send_message(QueueUrl=at.queue, MessageBody="{}"),
    "purge its queue": lambda at: at.sqs.purge_queue(QueueUrl=at.queue),
    "open its queue": lambda at: at.sqs.set_queue_attributes(QueueUrl=at.queue, Attributes={"Policy": ""}),
    "take the dead letters": lambda at: at.sqs.receive_message(QueueUrl=at.dead_letters),
    "take another's queue": lambda at: at.sqs.receive_message(QueueUrl=at.others_queue),
    "list queues": lambda at: at.sqs.list_queues(),
    "tell the topic": lambda at: at.client("sns").publish(TopicArn=at.topic, Message="{}"),
    "subscribe to the topic": lambda at: at.client("sns").subscribe(
        TopicArn=at.topic, Protocol="https", Endpoint="https://example.com"
    ),
    "read the token": lambda at: at.client("secretsmanager").get_secret_value(SecretId=at.secret),
    "list roles": lambda at: at.client("iam").list_roles(),
}


class At:
    """A consumer's clients, and what there is to do something with."""

    def __init__(self, world, name: str, credentials: tuple[str, ...]):
        self.world, self.credentials = world, credentials
        self.s3, self.sqs = world.clients(*credentials)
        self.bucket, self.topic = world.bucket, world.lake["ObjectsTopicArn"]
        self.secret = world.lake["TokenSecretArn"]
        self.key = world.objects()[0]["Key"]
        self.version = world.s3.head_object(Bucket=self.bucket, Key=self.key)["VersionId"]
        own = name if name in ("splunk", "elastic", "vector", "sentinel") else "elastic"
        other = "vector" if own != "vector" else "elastic"
        self.queue = world.outputs[own]["ItemUsagesQueueUrl"]
        self.dead_letters = world.outputs[own]["ItemUsagesDeadLetterQueueUrl"]
        self.others_queue = world.outputs[other]["ItemUsagesQueueUrl"]

    def client(self, service: str):
        return self.world.local.client(service, *self.credentials)

    def handle(self) -> str:
        """Of a message that somebody with all rights has put and taken."""
        self.world.sqs.send_message(QueueUrl=self.queue, MessageBody='{"Records": []}')
        (message,) = self.world.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=1)["Messages"]
        return message["ReceiptHandle"]


@pytest.fixture(scope="module")
def roles(world, attached, told) -> dict[str, At]:
    def as_host(name: str) -> tuple[str, ...]:
        return world.assume(f"arn:aws:iam::{ACCOUNT}:role/{name}-host", *world.keys["host"])

    def role(name: str) -> str:
        return world.outputs[name]["RoleArn"]

    sentinel = world.assume_by_web(role("sentinel-role"), f"MicrosoftSentinel_{WORKSPACE}", web_token())
    credentials = {
        "splunk": world.assume(role("splunk"), *world.keys["splunk"], ExternalId="splunk-1"),
        "elastic": as_host("elastic"),
        "vector": as_host("vector"),
        "sentinel": sentinel,
        "panther": world.assume(role("panther"), PANTHER, TEST),
        "sumo": world.assume(role("sumo"), SUMO, TEST, ExternalId="us2:0000000000000001"),
    }
    return {name: At(world, name, keys) for name, keys in credentials.items()}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", GRANTED)
def test_a_consumer_does_what_it_needs_and_nothing_else(roles, name, action):
    if action in GRANTED[name]:
        ACTIONS[action](roles[name])
    else:
        with pytest.raises(ClientError, match=DENIED):
            ACTIONS[action](roles[name])


@pytest.mark.parametrize("forbidden", FORBIDDEN)
@pytest.mark.parametrize("name", GRANTED)
def test_a_consumer_may_not(roles, name, forbidden):
    with pytest.raises(ClientError, match=DENIED):
        FORBIDDEN[forbidden](roles[name])


@contextmanager
def without(world, name: str, action: str):
    """The consumer's policies, less one action."""
    policy = {"PolicyArn": world.outputs[name]["ReaderPolicyArn"]}

    def version() -> dict[str, str]:
        return {"VersionId": world.iam.get_policy(**policy)["Policy"]["DefaultVersionId"]}

    def write(document: dict) -> None:
        before = version()
        world.iam.create_policy_version(**policy, PolicyDocument=json.dumps(document), SetAsDefault=True)
        world.iam.delete_policy_version(**policy, **before)

    document = world.iam.get_policy_version(**policy, **version())["PolicyVersion"]["Document"]
    inline = {"RoleName": "OIDC_OnePasswordEvents", "PolicyName": "sentinel"}
    kept = world.iam.get_role_policy(**inline)["PolicyDocument"]
    left = [copy.deepcopy(found) for found in (document, kept)]
    removed = 0
    for statement in (statement for found in left for statement in found["Statement"]):
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        removed += action in actions
        statement["Action"] = [other for other in actions if other != action] or ["sts:GetCallerIdentity"]
    assert removed, f"{name} was never allowed {action}"
    write(left[0])
    world.iam.put_role_policy(**inline, PolicyDocument=json.dumps(left[1]))
    try:
        yield
    finally:
        write(document)
        world.iam.put_role_policy(**inline, PolicyDocument=json.dumps(kept))


@pytest.mark.parametrize(("name", "action"), [(name, action) for name in GRANTED for action in sorted(GRANTED[name])])
def test_each_action_is_needed(world, roles, name, action):
    """So the local stack does evaluate it."""
    with without(world, name, action), pytest.raises(ClientError, match=DENIED):
        ACTIONS[action](roles[name])
    ACTIONS[action](roles[name])


def test_a_consumer_of_one_feed_sees_no_other(world, told):
    arn, keys = world.user("auditor")
    outputs = world.deploy("auditor", PrincipalArn=arn, SigninAttempts="false", ItemUsages="false")
    assert {name for name in outputs if name.endswith("QueueUrl")} == {
        "AuditEventsQueueUrl",
        "AuditEventsDeadLetterQueueUrl",
    }
    s3, _ = world.clients(*world.assume(outputs["RoleArn"], *keys))
    keys = [item["Key"] for item in world.objects()]
    assert {key.split("/")[2] for key in keys} == {"signin_attempts", "item_usages", "audit_events"}
    for key in keys:
        if "/audit_events/" in key:
            s3.get_object(Bucket=world.bucket, Key=key)
        else:
            with pytest.raises(ClientError, match=DENIED):
                s3.get_object(Bucket=world.bucket, Key=key)


# Who may come


@pytest.mark.parametrize("external_id", [{}, {"ExternalId": "splunk-2"}])
def test_another_external_id_is_refused(world, roles, external_id):
    with pytest.raises(ClientError, match=DENIED):
        world.assume(world.outputs["splunk"]["RoleArn"], *world.keys["splunk"], **external_id)


@pytest.mark.parametrize(
    ("name", "external_id"), [("splunk", "splunk-1"), ("sumo", "us2:0000000000000001"), ("panther", None)]
)
def test_another_principal_is_refused(world, roles, name, external_id):
    more = {} if external_id is None else {"ExternalId": external_id}
    for other in (world.keys["host"], ("444455556666", TEST)):
        with pytest.raises(ClientError, match=DENIED):
            world.assume(world.outputs[name]["RoleArn"], *other, **more)


@pytest.mark.parametrize("session", ["MicrosoftSentinel", "MicrosoftDefenderForClouds"])
def test_sentinel_comes_by_both_names(world, roles, session):
    world.assume_by_web(world.outputs["sentinel-role"]["RoleArn"], f"{session}_{WORKSPACE}", web_token())


@pytest.mark.parametrize(
    ("session", "token"),
    [
        (f"MicrosoftSentinel_{WORKSPACE[::-1]}", web_token()),
        (f"Other_{WORKSPACE}", web_token()),
        (f"MicrosoftSentinel_{WORKSPACE}", web_token(audience=AUDIENCE[:-1])),
        (f"MicrosoftSentinel_{WORKSPACE}", web_token(issuer=ISSUER.replace("33e01921", "44e01921"))),
    ],
    ids=["another workspace", "another product", "another audience", "another issuer"],
)
def test_nobody_else_comes_as_sentinel(world, roles, session, token):
    with pytest.raises(ClientError, match=DENIED):
        world.assume_by_web(world.outputs["sentinel-role"]["RoleArn"], session, token)


def mark_as_plain(request, **_):
    request.headers["X-Forwarded-Proto"] = "http"


def test_plain_http_is_refused(roles):
    """By the queue, to whom it is open otherwise."""
    roles["splunk"].sqs.get_queue_attributes(QueueUrl=roles["splunk"].queue)
    client = roles["splunk"].client("sqs")
    client.meta.events.register("before-send", mark_as_plain)
    with pytest.raises(ClientError, match=DENIED):
        client.get_queue_attributes(QueueUrl=roles["splunk"].queue)


def test_the_lake_lets_panther_subscribe_without_a_change_of_its_stack(world, roles):
    """https://docs.aws.amazon.com/sns/latest/api/API_AddPermission.html adds to the policy that is there."""
    topic = world.lake["ObjectsTopicArn"]
    panther = world.local.client("sns", PANTHER, TEST)
    queue = f"arn:aws:sqs:us-east-1:{PANTHER}:panther-input-data-notifications-queue-2"
    with pytest.raises(ClientError, match=DENIED):
        panther.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    before = json.loads(world.sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])["Statement"]
    world.sns.add_permission(TopicArn=topic, Label="panther", AWSAccountId=[PANTHER], ActionName=["Subscribe"])
    after = json.loads(world.sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])["Statement"]
    assert after[: len(before)] == before
    subscription = panther.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)["SubscriptionArn"]
    panther.unsubscribe(SubscriptionArn=subscription)
    world.sns.remove_permission(TopicArn=topic, Label="panther")
