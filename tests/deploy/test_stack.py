"""The life of a deployed stack, from `sam deploy` to its return after a removal.

The tests are one story, in the order of the file. What the local stack does not
do as AWS does is in docs/deploy.md, under "What was checked".
"""

import copy
import gzip
import io
import json
import re
import shutil
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import yaml
from botocore.exceptions import ClientError
from deployment import STACK, Simulator, build, deploy_policy, query, sam_deploy
from local_stack import ACCOUNT, ROOT, LocalStack

sys.path.insert(0, str(ROOT / "tests/athena"))
from template import Loader  # noqa: E402

FEEDS = ["signin_attempts", "item_usages", "audit_events"]
KEPT = {"TokenSecret", "CheckpointTable", "ArchiveBucket"}


class World:
    """The local stack, the company, and the deployed application."""

    def __init__(self, folder):
        self.local = LocalStack(folder)
        try:
            self.simulator = Simulator()
        except BaseException:
            self.local.stop()
            raise
        folder.joinpath("build").mkdir()
        self.built = build(folder / "build")
        self.outputs = {}
        for service in ("cloudformation", "cloudwatch", "dynamodb", "iam", "lambda", "logs", "s3", "scheduler"):
            setattr(self, service, self.local.client(service))
        for service in ("secretsmanager", "sns", "sqs"):
            setattr(self, service, self.local.client(service))
        self.iam.create_user(UserName="deployer")
        self.iam.put_user_policy(UserName="deployer", PolicyName="deploy", PolicyDocument=deploy_policy())
        key = self.iam.create_access_key(UserName="deployer")["AccessKey"]
        self.deployer = (key["AccessKeyId"], key["SecretAccessKey"])

    def deploy(self, name: str = STACK, **parameters):
        parameters = {"EventsApiUrl": self.simulator.url} | parameters
        answer = sam_deploy(self.local, self.built, self.deployer, name, **parameters)
        if answer.returncode == 0:
            (stack,) = self.cloudformation.describe_stacks(StackName=name)["Stacks"]
            self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        return answer

    def resources(self, name: str = STACK) -> dict[str, str]:
        pages = self.cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
        found = [resource for page in pages for resource in page["StackResourceSummaries"]]
        return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in found}

    def invoke(self, payload: str = "{}") -> tuple[dict, bool]:
        name = self.outputs["CollectorFunctionName"]
        answer = self.__dict__["lambda"].invoke(FunctionName=name, Payload=payload.encode())
        return json.loads(answer["Payload"].read()), "FunctionError" not in answer

    def outcomes(self, payload: str = "{}") -> list[str]:
        report, good = self.invoke(payload)
        assert good, report
        return [stream["outcome"] for stream in report["streams"]]

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.outputs["ArchiveBucketName"], Prefix=prefix
        )
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def lake(self, feed: str) -> list[str]:
        """The uuids of a feed's events in the bucket."""
        found = []
        for key in self.keys(f"onepassword/v1/{feed}/"):
            body = self.s3.get_object(Bucket=self.outputs["ArchiveBucketName"], Key=key)["Body"].read()
            found += [json.loads(line)["uuid"] for line in gzip.decompress(body).splitlines()]
        return sorted(found)

    def lines(self) -> list[str]:
        """What the function has logged, without Lambda's own lines."""
        group = self.outputs["CollectorLogGroupName"]
        pages = self.logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        messages = [event["message"].strip() for page in pages for event in page["events"]]
        return [text for text in messages if not text.startswith(("START ", "END ", "REPORT "))]

    def metrics(self) -> list[dict]:
        return [line for line in map(json.loads, self.lines()) if "_aws" in line]

    def subscribe(self, topic: str) -> str:
        """A queue that a topic's messages come to; returns its URL."""
        queue = self.sqs.create_queue(QueueName=topic.rsplit(":", 1)[1] + "-reader")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return queue

    def received(self, queue: str) -> list[dict]:
        """What the topic told, oldest first."""
        messages = []
        while batch := self.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            for message in batch:
                self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                messages.append(json.loads(json.loads(message["Body"])["Message"]))
        return messages

    def stop(self) -> None:
        self.simulator.stop()
        self.local.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    # Lambda's sockets need a short path.
    folder = tmp_path_factory.mktemp("stack")
    world = World(folder)
    yield world
    world.stop()
    shutil.rmtree(folder)


def test_who_may_not_deploy_does_not(world):
    world.iam.create_user(UserName="nobody")
    key = world.iam.create_access_key(UserName="nobody")["AccessKey"]
    nobody = (key["AccessKeyId"], key["SecretAccessKey"])
    answer = sam_deploy(world.local, world.built, nobody, STACK)
    assert answer.returncode != 0
    assert "AccessDenied" in answer.stderr


def test_one_command_deploys_and_quietly_waits_for_the_token(world):
    world.began = time.monotonic()
    answer = world.deploy(ScheduleExpression="rate(1 minute)")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    print(f"sam deploy took {time.monotonic() - world.began:.0f} s")

    assert world.outcomes() == ["no_token"] * 3
    told = world.metrics()[-1]
    assert (told["NoToken"], told["FailedStreams"], told["Unauthorized"]) == (3, 0, 0)
    assert world.keys() == []


def test_what_was_built_runs_on_the_processor_that_was_deployed(world):
    template = world.cloudformation.get_template(StackName=STACK, TemplateStage="Original")["TemplateBody"]
    (uri,) = re.findall(r'CodeUri"?: "?s3://([^"\s]+)', template if isinstance(template, str) else json.dumps(template))
    bucket, key = uri.split("/", 1)
    package = zipfile.ZipFile(io.BytesIO(world.s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
    assert package.namelist() == ["bootstrap"]
    elf = package.read("bootstrap")
    assert elf[:4] == b"\x7fELF"
    machine = {0x3E: "x86_64", 0xB7: "arm64"}[int.from_bytes(elf[18:20], "little")]
    function = world.__dict__["lambda"].get_function_configuration(FunctionName=world.outputs["CollectorFunctionName"])
    assert function["Architectures"] == [machine]


def test_nothing_adds_a_role(world):
    template = world.cloudformation.get_template(StackName=STACK, TemplateStage="Processed")["TemplateBody"]
    template = template if isinstance(template, dict) else json.loads(template)
    roles = {name for name, body in template["Resources"].items() if body["Type"] == "AWS::IAM::Role"}
    assert roles == {"CollectorRole", "ScheduleRole"}
    assert "AWS::Lambda::Function" in {body["Type"] for body in template["Resources"].values()}


def test_the_schedule_fills_the_lake_once_the_secret_is_filled(world):
    world.objects = world.subscribe(world.outputs["ObjectsTopicArn"])
    world.secretsmanager.put_secret_value(SecretId=world.outputs["TokenSecretArn"], SecretString=world.simulator.token)

    # Not invoked here: the deployed schedule does it, each minute.
    until = time.monotonic() + 90
    while time.monotonic() < until and any(world.lake(feed) != world.simulator.uuids(feed) for feed in FEEDS):
        time.sleep(0.5)
    for feed in FEEDS:
        assert world.lake(feed) == world.simulator.uuids(feed)

    sql = (ROOT / "infra/athena/queries/events-by-day.sql").read_text()
    rows = query(world.local, world.outputs["DatabaseName"], sql)
    assert sum(row["events"] for row in rows) == sum(len(world.simulator.uuids(feed)) for feed in FEEDS)
    print(
        f"from sam deploy to the first rows: {time.monotonic() - world.began:.0f} s, waiting for the schedule included"
    )


def test_each_object_is_told_of_once(world):
    told = [record for message in world.received(world.objects) for record in message.get("Records", [])]
    assert {record["eventName"] for record in told} == {"ObjectCreated:CompleteMultipartUpload"}
    assert sorted(record["s3"]["object"]["key"] for record in told) == sorted(world.keys())


def test_a_late_event_is_found_by_the_hourly_resync(world):
    uuid = "LATELATELATELATELATELATELA"
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 7200))
    world.simulator.push("item_usages", json.dumps({"uuid": uuid, "timestamp": at}))
    hourly = world.scheduler.get_schedule(Name=world.resources()["HourlyResyncSchedule"])
    world.outcomes(hourly["Target"]["Input"])
    assert world.lake("item_usages").count(uuid) == 1
    assert world.metrics()[-1]["LateEvents"] == 1


def test_logs_and_metrics_are_read_at_every_level(world):
    function, name = world.__dict__["lambda"], world.outputs["CollectorFunctionName"]
    variables = function.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    for level in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR"):
        function.update_function_configuration(
            FunctionName=name, Environment={"Variables": variables | {"LOG_LEVEL": level}}
        )
        before = len(world.lines())
        world.outcomes()
        new = [json.loads(line) for line in world.lines()[before:]]
        (metrics,) = [line for line in new if "_aws" in line]
        for metric in metrics["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
            assert isinstance(metrics[metric["Name"]], int)
        assert metrics["FunctionName"] == name
        assert metrics["TokenDaysLeft"] > 1000
        told = {line["feed.name"] for line in new if "outcome" in line}
        assert told == (set() if level in ("WARN", "ERROR") else set(FEEDS))
    function.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


def test_an_alarm_reaches_whoever_subscribed(world):
    queue = world.subscribe(world.outputs["AlarmTopicArn"])
    alarm = world.outputs["QuarantineAlarmName"]
    world.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a trial")
    (told,) = world.received(queue)
    assert told["AlarmName"] == alarm
    assert "docs/runbook.md#quarantine" in told["AlarmDescription"]
    world.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="a trial")


def test_the_collection_is_unhealthy_while_one_of_its_alarms_is_on(world):
    def state() -> str:
        answer = world.cloudwatch.describe_alarms(
            AlarmNames=[world.outputs["CollectionUnhealthyAlarmName"]], AlarmTypes=["CompositeAlarm"]
        )
        return answer["CompositeAlarms"][0]["StateValue"]

    resources = world.resources()
    of_collection = ["Lag", "NoSuccessfulRun", "Failures", "DeadLetters", "Unauthorized", "NoToken", "RateLimited"]
    alarms = [resources[f"{name}Alarm"] for name in of_collection]

    def set_all(value: str) -> None:
        for alarm in alarms:
            world.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue=value, StateReason="a trial")

    set_all("OK")
    assert state() == "OK"
    for alarm in alarms:
        world.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a trial")
        assert state() == "ALARM", alarm
        world.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="a trial")


def plain(client):
    """Has a client's requests count as plain HTTP."""

    def mark(request, **_):
        request.headers["X-Forwarded-Proto"] = "http"

    client.meta.events.register("before-send", mark)
    return client


def call_bucket(client, world):
    return client.list_objects_v2(Bucket=world.outputs["ArchiveBucketName"])


def call_secret(client, world):
    return client.get_secret_value(SecretId=world.outputs["TokenSecretArn"])


def call_queue(client, world):
    return client.receive_message(QueueUrl=world.outputs["FailureQueueUrl"])


def call_topic(client, world):
    return client.publish(TopicArn=world.outputs["ObjectsTopicArn"], Message="{}")


@pytest.mark.parametrize(
    ("service", "call"),
    [("s3", call_bucket), ("secretsmanager", call_secret), ("sqs", call_queue), ("sns", call_topic)],
)
def test_plain_http_is_refused(world, service, call):
    # By somebody whose own policy allows everything: the account's root is
    # beyond policies here.
    name = f"administrator-{service}"
    world.iam.create_user(UserName=name)
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    world.iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(everything))
    key = world.iam.create_access_key(UserName=name)["AccessKey"]
    credentials = (key["AccessKeyId"], key["SecretAccessKey"])
    call(world.local.client(service, *credentials), world)
    with pytest.raises(ClientError, match="AccessDenied|AuthorizationError"):
        call(plain(world.local.client(service, *credentials)), world)


@contextmanager
def without(world, sid: str, action: str):
    """The collector's role, less one action of one statement."""
    role, policy = world.resources()["CollectorRole"], "collector"
    document = world.iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    less = copy.deepcopy(document)
    (statement,) = [statement for statement in less["Statement"] if statement["Sid"] == sid]
    actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
    assert action in actions
    statement["Action"] = [other for other in actions if other != action]
    if not statement["Action"]:
        less["Statement"].remove(statement)
    world.iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(less))
    try:
        yield
    finally:
        world.iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))


def new_event(world) -> str:
    world.events = getattr(world, "events", 0) + 1
    uuid = f"NEW{world.events:023}"
    # After every other, so that the tail finds it.
    at = datetime.now(UTC).isoformat()
    world.simulator.push("audit_events", json.dumps({"uuid": uuid, "timestamp": at}))
    return uuid


def cold_start(world) -> None:
    """A warm function remembers the secret: has the next invocation begin anew."""
    function, name = world.__dict__["lambda"], world.outputs["CollectorFunctionName"]
    variables = function.get_function_configuration(FunctionName=name)["Environment"]
    function.update_function_configuration(FunctionName=name, Environment=variables)


def new_record_that_is_no_event(world) -> None:
    uuid = new_event(world)[::-1]
    world.simulator.no_events.add(uuid)
    world.simulator.push("audit_events", json.dumps({"uuid": uuid, "timestamp": "never"}))


RESYNC = '{"resync":{"hours":6}}'
NEEDED = [
    ("ReadToken", "secretsmanager:GetSecretValue", cold_start, "{}"),
    ("KeepCheckpoints", "dynamodb:GetItem", None, "{}"),
    ("KeepCheckpoints", "dynamodb:PutItem", new_event, "{}"),
    ("WriteLake", "s3:PutObject", new_event, "{}"),
    ("WriteLake", "s3:GetObject", None, RESYNC),
    ("ListLake", "s3:ListBucket", None, RESYNC),
    ("WriteQuarantine", "s3:PutObject", new_record_that_is_no_event, "{}"),
]


@pytest.mark.parametrize(("sid", "action", "prepare", "payload"), NEEDED)
def test_the_role_allows_nothing_that_is_not_needed(world, sid, action, prepare, payload):
    world.outcomes(payload)
    if prepare:
        prepare(world)
    with without(world, sid, action):
        report, good = world.invoke(payload)
        assert not good, report
        print(sid, action, report["errorType"])
    world.outcomes(payload)
    assert world.lake("audit_events") == world.simulator.uuids("audit_events")


def uploads(world) -> set[str]:
    answer = world.s3.list_multipart_uploads(Bucket=world.outputs["ArchiveBucketName"])
    return {upload["Key"] for upload in answer.get("Uploads", [])}


def race(world) -> tuple[list[str], int]:
    """Outcomes of two runs that collect one event at once, and how many uploads they leave."""
    new_event(world)
    before = uploads(world)
    # Until both have read the row.
    slow = {"feed": "auditevents", "when": {"next": 2}, "effect": {"slow_headers": 2000}}
    world.simulator.ask("POST", "faults", [slow])
    with ThreadPoolExecutor() as pool:
        reports = [future.result() for future in [pool.submit(world.invoke) for _ in range(2)]]
    world.simulator.ask("DELETE", "faults")
    assert all(good for _, good in reports), reports
    streams = [stream for report, _ in reports for stream in report["streams"]]
    outcomes = sorted(stream["outcome"] for stream in streams if stream["feed"] == "audit_events")
    return outcomes, len(uploads(world) - before)


def test_the_loser_of_a_race_clears_up_if_it_may_abort(world):
    assert race(world) == (["collected", "superseded"], 0)
    with without(world, "WriteLake", "s3:AbortMultipartUpload"):
        assert race(world) == (["collected", "superseded"], 1)
    assert world.lake("audit_events") == world.simulator.uuids("audit_events")


def test_each_schedule_sends_what_the_function_understands(world):
    function, name = world.__dict__["lambda"], world.outputs["CollectorFunctionName"]
    # Resyncs take their time, to leave the API to the collection: minutes
    # for 120 days. With less, they go as far as they come.
    function.update_function_configuration(FunctionName=name, Timeout=20)
    schedules = {logical: name for logical, name in world.resources().items() if logical.endswith("Schedule")}
    assert len(schedules) == 5
    for logical, schedule in schedules.items():
        target = world.scheduler.get_schedule(Name=schedule)["Target"]
        assert target["Arn"].endswith(name)
        expected = {"idle"} if logical == "CollectorSchedule" else {"idle", "collected", "partial"}
        assert set(world.outcomes(target["Input"])) <= expected, logical
    function.update_function_configuration(FunctionName=name, Timeout=240)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (dict(BucketOwnerAccountId="111122223333"), "Set ExistingBucketName"),
        (dict(ObjectLock="GOVERNANCE:30", ExistingBucketName="some-bucket"), "on the existing bucket"),
        (dict(DeletionProtection="true", ExistingTableName="rows"), "on the existing table"),
        (dict(ReservedConcurrency="1"), "would drop the runs"),
        (dict(ObjectLock="GOVERNANCE"), "GOVERNANCE or COMPLIANCE"),
        (dict(ScheduleExpression="rate(1 minutes)"), "rate(5 minutes)"),
        (dict(ScheduleExpression="rate(2 minute)"), "rate(5 minutes)"),
        (dict(KeyPrefix="quarantine/a/"), "segments of letters"),
        (dict(KeyPrefix="a/aws-waf-logs/"), "segments of letters"),
        (dict(KmsKeyArn="alias/mine"), "alias"),
        (dict(Vpc="subnet-1a2b"), "security groups"),
        (dict(HttpsProxy="http://me:secret@proxy"), "without user and password"),
        (dict(RolePath="team"), "start and end"),
        (dict(AlarmDestination="security"), "e-mail"),
        (dict(DatabaseName="One-Password"), "lower-case"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_made(world, parameters, said):
    overrides = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    with pytest.raises(ClientError) as refused:
        world.cloudformation.create_change_set(
            StackName=STACK,
            ChangeSetName="refused",
            UsePreviousTemplate=True,
            Parameters=overrides,
            Capabilities=["CAPABILITY_IAM"],
        )
    assert said in str(refused.value)


def changes_by(world, parameters: dict[str, str]) -> dict[str, dict]:
    """What CloudFormation would do to each resource, if these parameters changed."""
    world.cloudformation.create_change_set(
        StackName=STACK,
        ChangeSetName="changes",
        UsePreviousTemplate=True,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    told = {"StackName": STACK, "ChangeSetName": "changes"}
    world.cloudformation.get_waiter("change_set_create_complete").wait(**told, WaiterConfig={"Delay": 1})
    changes = world.cloudformation.describe_change_set(**told)["Changes"]
    world.cloudformation.delete_change_set(**told)
    return {change["ResourceChange"]["LogicalResourceId"]: change["ResourceChange"] for change in changes}


def test_no_change_of_a_parameter_replaces_what_holds_data(world):
    before = world.resources()
    changed = {
        "AlarmDestination": "security@acme.example",
        "Architecture": "arm64",
        "DatabaseName": "other",
        "DeletionProtection": "true",
        "EventsApiUrl": "https://events.1password.eu",
        "HttpsProxy": "http://proxy.example:3128",
        "KeyPrefix": "other/",
        "KmsKeyArn": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234",
        "LogLevel": "DEBUG",
        "ObjectLock": "GOVERNANCE:30",
        "PermissionsBoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
        "ReservedConcurrency": "5",
        "RetentionDays": "365",
        "RolePath": "/security/",
        "ScheduleExpression": "rate(10 minutes)",
        "Vpc": "subnet-1a2b/sg-5e6f",
    }
    # All at once: if any of them replaced one, so would they together.
    changes = changes_by(world, changed)
    assert changes.keys() >= KEPT
    for name in KEPT:
        # "Conditional" is what the local stack says of a key of a secret; the
        # schema of AWS replaces a secret for its name alone, which has none.
        assert changes[name]["Action"] == "Modify"
        assert changes[name]["Replacement"] in {"False", "Conditional"}, name

    # The others put existing ones in their place: they leave the stack, and
    # their deletion policy has them stay.
    existing = {
        "ExistingBucketName": "there-already",
        "ExistingTableName": "there-already",
        "TokenSecretArn": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:there-already-AbCdEf",
    }
    changes = changes_by(world, existing)
    # The local stack does not list what a condition removes; AWS does.
    assert {changes[name]["Action"] for name in KEPT if name in changes} <= {"Remove"}
    template = world.cloudformation.get_template(StackName=STACK, TemplateStage="Original")["TemplateBody"]
    template = template if isinstance(template, dict) else yaml.load(template, Loader)
    for name in KEPT:
        assert template["Resources"][name]["DeletionPolicy"] == "RetainExceptOnCreate"
    # An owner is told of an existing bucket alone.
    assert template["Parameters"].keys() == changed.keys() | existing.keys() | {"BucketOwnerAccountId"}
    assert world.resources() == before


def test_an_update_keeps_the_data_and_goes_on(world):
    before = {name: world.resources()[name] for name in KEPT}
    objects = world.keys()
    address = "security@acme.example"
    answer = world.deploy(RetentionDays="365", ScheduleExpression="off", LogLevel="DEBUG", AlarmDestination=address)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert {name: world.resources()[name] for name in KEPT} == before
    assert world.keys() == objects
    function = world.__dict__["lambda"].get_function_configuration(FunctionName=world.outputs["CollectorFunctionName"])
    assert function["Environment"]["Variables"]["RETENTION_DAYS"] == "365"
    told = world.sns.list_subscriptions_by_topic(TopicArn=world.outputs["AlarmTopicArn"])["Subscriptions"]
    assert ("email", address) in {(subscription["Protocol"], subscription["Endpoint"]) for subscription in told}
    states = [
        world.scheduler.get_schedule(Name=name)["State"]
        for logical, name in world.resources().items()
        if logical.endswith("Schedule")
    ]
    assert states == ["DISABLED"] * 5
    assert world.outcomes() == ["idle"] * 3


def everything_that_holds_data(world) -> set[str]:
    buckets = {item["Name"] for item in world.s3.list_buckets()["Buckets"]}
    tables = set(world.dynamodb.list_tables()["TableNames"])
    secrets = {item["Name"] for item in world.secretsmanager.list_secrets()["SecretList"]}
    return buckets | tables | secrets


def test_a_failed_create_leaves_nothing_and_can_be_repeated(world):
    outputs, before = world.outputs, everything_that_holds_data(world)
    # The database of the first stack has this name.
    answer = world.deploy(name=f"{STACK}-2")
    assert answer.returncode != 0
    (stack,) = world.cloudformation.describe_stacks(StackName=f"{STACK}-2")["Stacks"]
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert everything_that_holds_data(world) == before
    world.cloudformation.delete_stack(StackName=f"{STACK}-2")
    world.cloudformation.get_waiter("stack_delete_complete").wait(StackName=f"{STACK}-2", WaiterConfig={"Delay": 1})
    world.outputs = outputs


def test_a_removal_keeps_the_data_and_another_stack_goes_on_with_it(world):
    outputs, objects = world.outputs, world.keys()
    world.cloudformation.delete_stack(StackName=STACK)
    world.cloudformation.get_waiter("stack_delete_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    assert world.keys() == objects
    held = everything_that_holds_data(world)
    assert {outputs["ArchiveBucketName"], outputs["CheckpointTableName"]} <= held

    uuid = new_event(world)
    topic = world.sns.create_topic(Name="alarms")["TopicArn"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    boundary = world.iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(everything))["Policy"]["Arn"]
    answer = world.deploy(
        name=f"{STACK}-2",
        AlarmDestination=topic,
        PermissionsBoundaryArn=boundary,
        RolePath="/team/",
        Vpc="subnet-1a2b,subnet-3c4d/sg-5e6f",
        ReservedConcurrency="5",
        ExistingBucketName=outputs["ArchiveBucketName"],
        ExistingTableName=outputs["CheckpointTableName"],
        TokenSecretArn=outputs["TokenSecretArn"],
        ScheduleExpression="off",
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    resources = world.resources(f"{STACK}-2")
    assert not (KEPT | {"AlarmTopic"}) & resources.keys()
    assert world.outputs["AlarmTopicArn"] == topic
    for name in ("CollectorRole", "ScheduleRole"):
        role = world.iam.get_role(RoleName=resources[name])["Role"]
        assert role["Path"] == "/team/"
    for name in ("ArchiveBucketName", "CheckpointTableName", "TokenSecretArn"):
        assert world.outputs[name] == outputs[name]
    report, good = world.invoke()
    assert good, report
    assert [stream["events"] for stream in report["streams"]].count(0) == 2
    assert set(world.keys()) > set(objects)
    assert world.lake("audit_events") == world.simulator.uuids("audit_events")
    assert uuid in world.lake("audit_events")
