"""The model of Datadog's Forwarder as a Lambda function. What it forwards goes to the bucket INTAKE."""

import json
import os

import boto3
from consumers import Datadog


def handler(event, context):
    s3 = boto3.client("s3")
    reader = Datadog(s3)
    record = event["Records"][0]
    reader.take(record["body"], record["eventSourceARN"])
    s3.put_object(Bucket=os.environ["INTAKE"], Key=record["messageId"], Body=json.dumps(reader.lines))
