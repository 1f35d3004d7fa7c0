"""What the template lets whom do, and how it keeps the results."""

import pytest
from template import TEMPLATE, Stack

KEY = "arn:aws:kms:eu-west-1:111122223333:key/0f1e2d3c"


def policy(stack: Stack) -> dict[str, dict]:
    (managed,) = stack.of_type("AWS::IAM::ManagedPolicy")
    statements = managed["PolicyDocument"]["Statement"]
    by_sid = {statement["Sid"]: statement for statement in statements}
    assert len(by_sid) == len(statements)
    assert {statement["Effect"] for statement in statements} == {"Allow"}
    return by_sid


def each(value) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_every_partition_is_served():
    assert "arn:aws:" not in TEMPLATE.read_text()


def test_an_analyst_reads_the_lake_and_writes_results_alone(stack):
    statements = policy(stack)
    writes = {"Put", "Delete", "Create", "Update", "Abort", "Generate"}
    for sid, statement in statements.items():
        actions = [action.split(":")[1] for action in each(statement["Action"])]
        assert not any("*" in action for action in actions)
        resources = each(statement["Resource"])
        if any(action.startswith(tuple(writes)) for action in actions):
            assert resources == ["<ResultsBucket.Arn>/*"], sid
        assert ("*" in resources) == (sid == "ChooseWorkGroup")
    assert statements["ReadLake"]["Resource"] == [
        "arn:aws:s3:::lake/onepassword/v1/*",
        "arn:aws:s3:::lake/quarantine/onepassword/v1/*",
    ]
    prefixes = statements["ListLake"]["Condition"]["StringLike"]["s3:prefix"]
    assert prefixes == ["onepassword/v1/*", "quarantine/onepassword/v1/*"]


def test_an_analyst_reaches_each_table_and_object_that_the_tables_name(stack):
    allowed = policy(stack)["ReadLake"]["Resource"]
    for table in stack.tables().values():
        properties = table.get("Parameters", {})
        uri = properties.get("storage.location.template", table["StorageDescriptor"]["Location"])
        path = uri.replace("s3://", "arn:aws:s3:::")
        assert any(path.startswith(pattern.removesuffix("*")) for pattern in allowed), uri


def test_results_are_enforced_private_and_short_lived(stack):
    (group,) = stack.of_type("AWS::Athena::WorkGroup")
    configuration = group["WorkGroupConfiguration"]
    assert configuration["EnforceWorkGroupConfiguration"] is True
    assert configuration["BytesScannedCutoffPerQuery"] == 107374182400
    assert configuration["ResultConfiguration"]["OutputLocation"] == "s3://<ResultsBucket>/"
    (bucket,) = stack.of_type("AWS::S3::Bucket")
    assert "ObjectLockEnabled" not in bucket
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 14)
    (bucket_policy,) = stack.of_type("AWS::S3::BucketPolicy")
    (statement,) = bucket_policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize(("key", "option", "algorithm"), [("", "SSE_S3", "AES256"), (KEY, "SSE_KMS", "aws:kms")])
def test_a_key_of_the_lake_encrypts_the_results_too(key, option, algorithm):
    stack = Stack(KmsKeyArn=key)
    (group,) = stack.of_type("AWS::Athena::WorkGroup")
    encryption = group["WorkGroupConfiguration"]["ResultConfiguration"]["EncryptionConfiguration"]
    assert encryption == {"EncryptionOption": option} | ({"KmsKey": key} if key else {})
    (bucket,) = stack.of_type("AWS::S3::Bucket")
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    default = rule["ServerSideEncryptionByDefault"]
    assert default == {"SSEAlgorithm": algorithm} | ({"KMSMasterKeyID": key} if key else {})
    use = policy(stack).get("UseKeyThroughS3")
    assert bool(use) == bool(key)
    if use:
        assert use["Resource"] == key
        assert use["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}
