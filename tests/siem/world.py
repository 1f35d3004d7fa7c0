"""The deployed application, the deployed consumers and what they take their messages with."""

import base64
import http.server
import io
import json
import ssl
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import boto3
import consumers
from deployment import STACK, Simulator, build, sam_deploy
from local_stack import ROOT, TEST, LocalStack

FEEDS = ["signin_attempts", "item_usages", "audit_events"]
OUTPUTS = dict(zip(FEEDS, ["SigninAttempts", "ItemUsages", "AuditEvents"], strict=True))
PREFIX = "onepassword/v1/"
SIEM = ROOT / "infra/siem"
# The accounts of Panther, which is the customer's own to know, and of Sumo.
PANTHER, SUMO = "111122223333", "926226587429"
WORKSPACE = "01234567-89ab-cdef-0123-456789abcdef"
ISSUER = "https://sts.windows.net/33e01921-4d64-4f8c-a055-5bdaffd5e33d/"
AUDIENCE = "api://1462b192-27f7-4cb9-8523-0f4ecb54b47e"


def start_stack(folder: Path) -> LocalStack:
    return LocalStack(folder, Path(__file__).with_name("run_ministack.py"))


def await_that(condition, what: str, seconds: float = 60):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, what
        time.sleep(0.1)
    return found


def web_token(audience: str = AUDIENCE, issuer: str = ISSUER) -> str:
    """What Microsoft would sign. The local stack believes it unsigned."""

    def part(claims: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'iss': issuer, 'aud': audience, 'sub': 'sentinel'})}."


class Inbox:
    """The URL that Sumo gives for a source."""

    def __init__(self, folder: Path):
        bodies = self.bodies = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}/receiver/v1/sns"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Intake(consumers.Consumer):
    """What forwarder.py has forwarded."""

    def __init__(self, s3, feeds: dict[str, str]):
        super().__init__(s3)
        self.feeds = feeds

    def refresh(self) -> None:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="intake")
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        bodies = [self.s3.get_object(Bucket="intake", Key=key)["Body"].read() for key in keys]
        self.lines = [(self.feeds[arn], line) for body in bodies for arn, line in json.loads(body)]


@dataclass
class Attached:
    """A consumer, with the clients of its role, and its queues if it takes some."""

    reader: consumers.Consumer
    sqs: object
    queues: dict[str, str]


class World:
    def __init__(self, folder: Path):
        self.folder = folder
        self.local = start_stack(folder)
        self.stops = [self.local.stop]
        try:
            self.simulator = Simulator()
            self.stops.append(self.simulator.stop)
            self.inbox = Inbox(folder)
            self.stops.append(self.inbox.stop)
            for service in ("cloudformation", "iam", "lambda", "s3", "secretsmanager", "sns", "sqs", "sts"):
                setattr(self, service, self.local.client(service))
            self.lake = self.deploy_lake()
            self.outputs, self.keys = {}, {}
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        for stop in reversed(self.stops):
            stop()

    def deploy_lake(self) -> dict[str, str]:
        folder = self.folder / "build"
        folder.mkdir()
        parameters = {"EventsApiUrl": self.simulator.url, "ScheduleExpression": "off", "DatabaseName": ""}
        answer = sam_deploy(self.local, build(folder), (TEST, TEST), STACK, **parameters)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        outputs = self.outputs_of(STACK)
        token = self.simulator.token
        self.secretsmanager.put_secret_value(SecretId=outputs["TokenSecretArn"], SecretString=token)
        self.bucket = outputs["ArchiveBucketName"]
        return outputs

    def outputs_of(self, name: str) -> dict[str, str]:
        (stack,) = self.cloudformation.describe_stacks(StackName=name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def await_stack(self, name: str, status: str) -> None:
        def ended() -> str | None:
            (stack,) = self.cloudformation.describe_stacks(StackName=name)["Stacks"]
            return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack["StackStatus"]

        if await_that(ended, f"the stack {name}") != status:
            events = self.cloudformation.describe_stack_events(StackName=name)["StackEvents"]
            failed = [
                (event["LogicalResourceId"], event.get("ResourceStatusReason"))
                for event in events
                if "FAILED" in event["ResourceStatus"]
            ]
            raise AssertionError(f"the stack {name}: {failed}")

    def deploy(self, name: str, template: str = "consumer.yaml", body: str | None = None, **parameters):
        """A stack on the outputs of the lake's."""
        known = {"BucketName": self.bucket, "TopicArn": self.lake["ObjectsTopicArn"]}
        known["AlarmTopicArn"] = self.lake["AlarmTopicArn"]
        body = body or (SIEM / template).read_text()
        parameters = {key: value for key, value in known.items() if f"\n  {key}:\n" in body} | parameters
        self.cloudformation.create_stack(
            StackName=name,
            TemplateBody=body,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        self.await_stack(name, "CREATE_COMPLETE")
        self.outputs[name] = self.outputs_of(name)
        return self.outputs[name]

    def update(self, name: str, **parameters) -> dict[str, str]:
        (stack,) = self.cloudformation.describe_stacks(StackName=name)["Stacks"]
        known = {item["ParameterKey"]: item["ParameterValue"] for item in stack["Parameters"]} | parameters
        self.cloudformation.update_stack(
            StackName=name,
            UsePreviousTemplate=True,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in known.items()],
        )
        self.await_stack(name, "UPDATE_COMPLETE")
        self.outputs[name] = self.outputs_of(name)
        return self.outputs[name]

    def collect(self) -> None:
        """Has the collector write all that the API shows."""
        name = self.lake["CollectorFunctionName"]
        for _ in range(20):
            answer = self.__dict__["lambda"].invoke(FunctionName=name, Payload=b"{}")
            report = json.loads(answer["Payload"].read())
            assert "FunctionError" not in answer, report
            if {stream["outcome"] for stream in report["streams"]} == {"idle"}:
                return
        raise AssertionError(report)

    def objects(self) -> list[dict]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=PREFIX)
        return [item for page in pages for item in page.get("Contents", [])]

    @staticmethod
    def queue_policy(arn: str, principal: dict) -> str:
        allow = {"Effect": "Allow", "Principal": principal, "Action": "sqs:SendMessage", "Resource": arn}
        return json.dumps({"Version": "2012-10-17", "Statement": [allow]})

    def queue(self, name: str, principal: str) -> tuple[str, str]:
        """URL and ARN of a queue that a service may send to."""
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = self.queue_policy(arn, {"Service": f"{principal}.amazonaws.com"})
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        return url, arn

    def role(self, name: str, principal: dict, **policies: dict) -> str:
        """A role that the consumer has already."""
        trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
        for policy, statement in policies.items():
            document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            self.iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=document)
        return arn

    def user(self, name: str) -> tuple[str, tuple[str, str]]:
        """Somebody who may assume any role that lets them."""
        arn = self.iam.create_user(UserName=name)["User"]["Arn"]
        allow = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        self.iam.put_user_policy(UserName=name, PolicyName="assume", PolicyDocument=document)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        self.keys[name] = (key["AccessKeyId"], key["SecretAccessKey"])
        return arn, self.keys[name]

    def assume(self, role: str, *credentials: str, **more) -> tuple[str, str, str]:
        sts = self.local.client("sts", *credentials)
        found = sts.assume_role(RoleArn=role, RoleSessionName="consumer", **more)["Credentials"]
        return found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]

    def assume_by_web(self, role: str, session: str, token: str) -> tuple[str, str, str]:
        found = self.sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName=session, WebIdentityToken=token)
        found = found["Credentials"]
        return found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]

    def clients(self, *credentials: str):
        return self.local.client("s3", *credentials), self.local.client("sqs", *credentials)

    def attach(self) -> dict[str, Attached]:
        """A stack for each consumer, and the consumer with the role that the stack says."""
        attached = {}

        def take_queues(name: str, kind: type, credentials: tuple[str, ...], *more) -> None:
            s3, sqs = self.clients(*credentials)
            attached[name] = Attached(kind(s3, *more), sqs, self.queues(name))

        # A principal with an external id.
        arn, keys = self.user("splunk")
        outputs = self.deploy("splunk", PrincipalArn=arn, ExternalId="splunk-1", MaxReceiveCount="5")
        take_queues("splunk", consumers.Splunk, self.assume(outputs["RoleArn"], *keys, ExternalId="splunk-1"))

        # Roles that the consumers have already.
        arn, keys = self.user("host")
        for name, kind in (("elastic", consumers.Elastic), ("vector", consumers.Vector)):
            role = self.role(f"{name}-host", {"AWS": arn})
            self.deploy(name, ExistingRoleName=f"{name}-host")
            take_queues(name, kind, self.assume(role, *keys))

        # A web identity.
        self.iam.create_open_id_connect_provider(Url=ISSUER, ClientIDList=[AUDIENCE], ThumbprintList=["6" * 40])
        outputs = self.deploy("sentinel-role", "sentinel/aws.yaml", WorkspaceId=WORKSPACE)
        self.deploy("sentinel", ExistingRoleName=outputs["RoleName"])
        credentials = self.assume_by_web(outputs["RoleArn"], f"MicrosoftSentinel_{WORKSPACE}", web_token())
        take_queues("sentinel", consumers.Documented, credentials, str(self.local.ca))

        # A function.
        self.s3.create_bucket(Bucket="intake")
        put = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::intake/*"}
        role = self.role("forwarder", {"Service": "lambda.amazonaws.com"}, intake=put)
        # The Python of the local stack's functions may lack boto3.
        variables = {"PYTHONPATH": str(Path(boto3.__file__).parents[1]), "AWS_CA_BUNDLE": str(self.local.ca)}
        variables["INTAKE"] = "intake"
        function = self.__dict__["lambda"].create_function(
            FunctionName="forwarder",
            Runtime="python3.12",
            Handler="forwarder.handler",
            Role=role,
            Code={"ZipFile": package()},
            Timeout=60,
            Environment={"Variables": variables},
        )["FunctionArn"]
        self.deploy(
            "datadog", Delivery="lambda", Endpoint=function, ExistingRoleName="forwarder", VisibilityTimeout="720"
        )
        attached["datadog"] = Attached(Intake(self.s3, self.queue_arns("datadog")), self.sqs, {})

        # A queue of another account.
        sqs = self.local.client("sqs", PANTHER, TEST)
        queue = sqs.create_queue(QueueName="panther-input-data-notifications-queue")["QueueUrl"]
        arn = f"arn:aws:sqs:us-east-1:{PANTHER}:panther-input-data-notifications-queue"
        policy = self.queue_policy(arn, {"Service": "sns.amazonaws.com"})
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        root = f"arn:aws:iam::{PANTHER}:root"
        outputs = self.deploy("panther", Delivery="sns-cross-account", Endpoint=arn, PrincipalArn=root)
        s3, _ = self.clients(*self.assume(outputs["RoleArn"], PANTHER, TEST))
        reader = consumers.Panther(s3, self.local.client("sns", PANTHER, TEST))
        attached["panther"] = Attached(reader, sqs, {"": queue})
        drain(attached["panther"], self.count)  # which confirms the subscription

        # A URL, which is known once the role is.
        root, name = f"arn:aws:iam::{SUMO}:root", "us2:0000000000000001"
        parameters = {"Delivery": "https", "PrincipalArn": root, "ExternalId": name}
        outputs = self.deploy("sumo", **parameters)
        s3, _ = self.clients(*self.assume(outputs["RoleArn"], SUMO, TEST, ExternalId=name))
        self.update("sumo", Endpoint=self.inbox.url)
        reader = consumers.Sumo(s3, self.local.client("sns", SUMO, TEST), PREFIX)
        attached["sumo"] = Attached(reader, self.sqs, {})
        await_that(lambda: self.inbox.bodies, "the question whether Sumo wants to subscribe")
        reader.take(self.inbox.bodies.pop(), "")
        return attached

    def queues(self, name: str) -> dict[str, str]:
        return {feed: self.outputs[name][f"{output}QueueUrl"] for feed, output in OUTPUTS.items()}

    def queue_arns(self, name: str) -> dict[str, str]:
        return {self.outputs[name][f"{output}QueueArn"]: feed for feed, output in OUTPUTS.items()}

    def dead_letters(self, name: str) -> list[str]:
        return [
            url
            for key, url in self.outputs[name].items()
            if key.endswith(("DeadLetterQueueUrl", "UndeliveredQueueUrl"))
        ]

    def count(self, queue: str, sqs=None) -> int:
        names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        found = (sqs or self.sqs).get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def bodies(self, queue: str) -> list[str]:
        """Takes all messages out of a queue."""
        found = []
        while batch := self.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            for message in batch:
                self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                found.append(message["Body"])
        return found


def drain(one: Attached, count, seconds: float = 60) -> None:
    """Has a consumer take its queues until nothing is left in them.

    What it cannot take it gives back at once, in place of waiting for the
    visibility timeout, so that it ends among the dead letters in good time.
    """
    until = time.monotonic() + seconds
    while left := {feed: queue for feed, queue in one.queues.items() if count(queue, one.sqs)}:
        assert time.monotonic() < until, f"{type(one.reader).__name__} has left messages in {left}"
        for feed, queue in left.items():
            for message in one.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
                handle = {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]}
                try:
                    one.reader.take(message["Body"], feed)
                except consumers.Stuck:
                    one.sqs.change_message_visibility(**handle, VisibilityTimeout=0)
                else:
                    one.sqs.delete_message(**handle)
        time.sleep(0.05)


def package() -> bytes:
    """forwarder.py for Lambda."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in ("forwarder.py", "consumers.py"):
            archive.write(Path(__file__).with_name(name), name)
    return data.getvalue()
