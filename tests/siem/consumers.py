"""Models of the consumers: what their public code and documentation say they do with a message.

No consumer itself runs here. Each model takes the body of a message and reads
the objects that it names, by the rules of one consumer: the form of the message,
how the key is decoded, how it is known to be gzip, what is ignored, what is left
in the queue. Where each rule is from:

    Splunk     Splunk Add-on for AWS, input "SQS-based S3"
    Elastic    github.com/elastic/beats x-pack/filebeat/input/awss3
    Datadog    github.com/DataDog/datadog-serverless-functions aws/logs_monitoring
    Vector     github.com/vectordotdev/vector src/sources/aws_s3 (also Datadog's Observability Pipelines)
    Panther    github.com/panther-labs/panther internal/log_analysis/log_processor (of 2021)
    Sumo       github.com/SumoLogic/sumologic-documentation, Amazon S3 source
    Documented what is left for those whose code is closed (Sentinel, LogScale,
               Stellar Cyber): the one form that their documentation shows, and no other
"""

import gzip
import hashlib
import json
from urllib.parse import unquote, unquote_plus

import urllib3

MAGIC = b"\x1f\x8b\x08"


class Stuck(Exception):
    """The message stays in the queue, and ends among the dead letters."""


class Consumer:
    def __init__(self, s3, region: str = "us-east-1"):
        self.s3 = s3
        self.region = region
        # What arrived: the queue's feed, and the line.
        self.lines: list[tuple[str, str]] = []

    def take(self, body: str, feed: str) -> None:
        for record in self.records(json.loads(body)):
            for line in self.read(record):
                self.lines.append((self.feed(record, feed), line))

    def feed(self, record: dict, of_queue: str) -> str:
        return of_queue

    def records(self, message: dict) -> list[dict]:
        raise NotImplementedError

    def read(self, record: dict) -> list[str]:
        raise NotImplementedError

    def get(self, record: dict, key: str, **more) -> dict:
        try:
            return self.s3.get_object(Bucket=record["s3"]["bucket"]["name"], Key=key, **more)
        except self.s3.exceptions.ClientError as error:
            raise Stuck(key) from error

    def events(self, feed: str) -> set[str]:
        """The uuids that arrived as events of a feed. A line that is no JSON is no event."""
        return {json.loads(line)["uuid"] for of, line in self.lines if of == feed and is_json(line)}

    def garbage(self) -> list[str]:
        return [line for _, line in self.lines if not is_json(line)]


def is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def feed_of_key(key: str) -> str:
    """Of <prefix><feed>/<day>/<account>/<file>."""
    return key.split("/")[-4]


def enveloped(message: dict) -> dict:
    """The message itself, or the one within that of SNS."""
    return json.loads(message["Message"]) if "TopicArn" in message else message


def text_lines(data: bytes) -> list[str]:
    return [line for line in data.decode("utf-8", "replace").replace("\r", "\n").split("\n") if line]


def of_eventbridge(event: dict) -> dict:
    detail = event["detail"]
    found = {"key": detail["object"]["key"], "size": detail["object"]["size"], "eTag": detail["object"]["etag"]}
    s3 = {"bucket": {"name": detail["bucket"]["name"]}, "object": found}
    return {"eventName": "ObjectCreated:", "awsRegion": event["region"], "s3": s3}


class Splunk(Consumer):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.validates = False

    def records(self, message):
        # A message of SNS has it ask for signatures from then on.
        self.validates = self.validates or "TopicArn" in message
        if self.validates and "Signature" not in message:
            raise Stuck("no signature")
        inner = enveloped(message)
        if inner.get("detail-type") == "Object Created":
            inner = {"Records": [of_eventbridge(inner)]}
        records = inner.get("Records")
        if records is None:
            raise Stuck("no parser")
        return [record for record in records if record["eventName"].startswith("ObjectCreated:")]

    def read(self, record):
        found = record["s3"]["object"]
        if not found.get("size"):
            return []
        if not record["awsRegion"]:
            raise Stuck("no region")
        version = {"VersionId": found["versionId"]} if "versionId" in found else {}
        key = unquote_plus(found["key"])
        data = self.get(record, key, IfMatch=found["eTag"], **version)["Body"].read()
        return text_lines(gzip.decompress(data) if key.endswith((".gz", ".gzip")) else data)


class Elastic(Consumer):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.ids = set()

    def records(self, message):
        # What has no Records is deleted: there is nothing to try again.
        return [
            record
            for record in enveloped(message).get("Records", [])
            if record["eventSource"] == "aws:s3" and record["eventName"].startswith("ObjectCreated:")
        ]

    def read(self, record):
        assert record["awsRegion"]
        key = unquote_plus(record["s3"]["object"]["key"], errors="strict")
        answer = self.get(record, key)
        data = answer["Body"].read()
        if data.startswith(MAGIC):
            data = gzip.decompress(data)
        lines = text_lines(data)
        if answer["ContentType"] in ("application/json", "application/x-ndjson"):
            try:
                lines = [json.dumps(json.loads(line)) for line in lines]
            except ValueError as error:
                raise Stuck(key) from error
        # A document of this id is there already, and stays as it is.
        of = hashlib.sha256((record["s3"]["bucket"]["arn"] + key).encode()).hexdigest()[:10]
        offset, new = 0, []
        for line in lines:
            if f"{of}-{offset}" not in self.ids:
                new.append(line)
            self.ids.add(f"{of}-{offset}")
            offset += len(line)
        return new


class Datadog(Consumer):
    """The Forwarder. It takes events of Lambda, and looks at the first record alone."""

    def records(self, message):
        record = enveloped(message).get("Records", [{}])[0]
        return [record] if "s3" in record else []

    def read(self, record):
        key = unquote_plus(record["s3"]["object"]["key"])
        try:
            data = self.get(record, key)["Body"].read()
        except Stuck as error:
            # It logs the error and goes on: the message is gone.
            return [f"error: {error}"]
        if key.endswith(".gz") or data.startswith(MAGIC):
            data = gzip.decompress(data)
        return [line for line in data.decode("utf-8", "ignore").split("\n") if line.strip()]


class Vector(Consumer):
    def records(self, message):
        inner = enveloped(message)
        if inner.get("Event") == "s3:TestEvent":
            return []
        if "Records" not in inner:
            raise Stuck("no S3 event")
        return [record for record in inner["Records"] if record["eventName"].startswith("ObjectCreated:")]

    def read(self, record):
        if record["eventVersion"].split(".")[0] != "2" or record["awsRegion"] != self.region:
            raise Stuck("version or region")
        key = unquote_plus(record["s3"]["object"]["key"])
        answer = self.get(record, key)
        data = answer["Body"].read()
        zipped = (
            answer.get("ContentEncoding") == "gzip"
            or answer["ContentType"] in ("application/gzip", "application/x-gzip")
            or key.endswith(".gz")
        )
        return text_lines(gzip.decompress(data) if zipped else data)


class Panther(Consumer):
    """It takes the envelope of SNS alone, and confirms the subscription of its queue."""

    def __init__(self, s3, sns):
        super().__init__(s3)
        self.sns = sns

    def records(self, message):
        if message.get("Type") == "SubscriptionConfirmation":
            self.sns.confirm_subscription(TopicArn=message["TopicArn"], Token=message["Token"])
            return []
        if message.get("Type") != "Notification":
            raise Stuck("unexpected message")
        inner = json.loads(message["Message"])
        if not inner.get("Records") and inner.get("Event") != "s3:TestEvent":
            raise Stuck("unknown notification")
        return inner.get("Records", [])

    def feed(self, record, of_queue):
        return feed_of_key(unquote(record["s3"]["object"]["key"]))

    def read(self, record):
        found = record["s3"]["object"]
        key = unquote(found["key"])
        if not found["size"] or key.endswith("/"):
            return []
        self.s3.get_bucket_location(Bucket=record["s3"]["bucket"]["name"])
        data = self.get(record, key)["Body"].read()
        return text_lines(gzip.decompress(data) if data.startswith(MAGIC) else data)


class Sumo(Consumer):
    """It lists the bucket every few minutes. Messages that SNS posts have it look at once."""

    def __init__(self, s3, sns, prefix: str):
        super().__init__(s3)
        self.sns = sns
        self.prefix = prefix
        self.seen = set()

    def records(self, message):
        if message["Type"] == "SubscriptionConfirmation":
            self.sns.confirm_subscription(TopicArn=message["TopicArn"], Token=message["Token"])
            return []
        return json.loads(message["Message"]).get("Records", [])

    def feed(self, record, of_queue):
        return feed_of_key(unquote_plus(record["s3"]["object"]["key"]))

    def read(self, record):
        found = record["s3"]["object"]
        return self.fetch(record["s3"]["bucket"]["name"], unquote_plus(found["key"]), found.get("versionId"))

    def scan(self, bucket: str) -> None:
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=self.prefix)
        for item in (item for page in pages for item in page.get("Versions", [])):
            for line in self.fetch(bucket, item["Key"], item["VersionId"]):
                self.lines.append((feed_of_key(item["Key"]), line))

    def fetch(self, bucket: str, key: str, version: str | None) -> list[str]:
        if (key, version) in self.seen:
            return []
        self.seen.add((key, version))
        more = {} if version is None else {"VersionId": version}
        try:
            data = self.s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()
        except self.s3.exceptions.ClientError:
            return []
        zipped = key.endswith((".gz", ".gzip")) and data.startswith(MAGIC)
        return text_lines(gzip.decompress(data) if zipped else data)


class Documented(Consumer):
    """Takes nothing for granted: keys as they are, gzip by its settings, an HTTP client that decodes."""

    def __init__(self, s3, ca: str):
        super().__init__(s3)
        self.ca = ca

    def records(self, message):
        if "Records" not in message:
            raise Stuck("not a notification of S3")
        return message["Records"]

    def read(self, record):
        place = {"Bucket": record["s3"]["bucket"]["name"], "Key": record["s3"]["object"]["key"]}
        url = self.s3.generate_presigned_url("get_object", Params=place, ExpiresIn=60)
        with urllib3.PoolManager(ca_certs=self.ca) as pool:
            answer = pool.request("GET", url, decode_content=True)
        if answer.status != 200:
            raise Stuck(place["Key"])
        try:
            return text_lines(gzip.decompress(answer.data))
        except gzip.BadGzipFile as error:
            raise Stuck(place["Key"]) from error
