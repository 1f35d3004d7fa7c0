"""What template.yaml says, against the code and the documents that it belongs to."""

import json
import re
import sys

import pytest
import yaml
from local_stack import ROOT

sys.path.insert(0, str(ROOT / "tests/athena"))
from template import Loader  # noqa: E402

TEMPLATE = (ROOT / "template.yaml").read_text()
SOURCE = yaml.load(TEMPLATE, Loader)
RESOURCES = SOURCE["Resources"]
PARAMETERS = SOURCE["Parameters"]
FEEDS = ["signin_attempts", "item_usages", "audit_events"]
# What everything hangs on after the stack is gone.
KEPT = ["ArchiveBucket", "CheckpointTable", "TokenSecret"]


def code(name: str) -> str:
    return (ROOT / "functions" / name).read_text()


def of_type(kind: str) -> dict[str, dict]:
    return {name: body for name, body in RESOURCES.items() if body["Type"] == kind}


def each(value) -> list:
    return value if isinstance(value, list) else [value]


def branches(node) -> list:
    """What an `Fn::If` may be, NoValue aside."""
    if isinstance(node, dict) and "Fn::If" in node:
        return [found for branch in node["Fn::If"][1:] for found in branches(branch)]
    return [] if node == {"Ref": "AWS::NoValue"} else [node]


def statements(document: dict) -> list[dict]:
    return [found for statement in document["Statement"] for found in branches(statement)]


def role_statements() -> dict[str, dict]:
    found = {}
    for name, role in of_type("AWS::IAM::Role").items():
        for policy in role["Properties"]["Policies"]:
            for statement in statements(policy["PolicyDocument"]):
                assert f"{name}.{statement['Sid']}" not in found
                found[f"{name}.{statement['Sid']}"] = statement
    return found


def walk(node):
    yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from walk(child)


# Parameters


def test_enter_on_every_question_is_an_answer():
    assert len(PARAMETERS) <= 20
    for name, parameter in PARAMETERS.items():
        default = str(parameter["Default"])
        assert re.fullmatch(parameter.get("AllowedPattern", ".*"), default), name
        assert default in map(str, parameter.get("AllowedValues", [default])), name
        if "AllowedPattern" in parameter:
            assert parameter["ConstraintDescription"], name


def test_every_parameter_is_in_a_group_and_used():
    groups = SOURCE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(PARAMETERS)
    body = json.dumps([SOURCE["Conditions"], RESOURCES])
    for name in PARAMETERS:
        assert f'{{"Ref": "{name}"}}' in body or f"${{{name}}}" in body, name


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        ("TokenSecretArn", ["arn:aws:secretsmanager:eu-west-1:111122223333:secret:a/b-AbCdEf"], ["a/b", "eyJhbGciOi"]),
        (
            "AlarmDestination",
            ["security@acme.example", "arn:aws:sns:eu-west-1:111122223333:alarms"],
            ["security", "a b@c.d", "arn:aws:sqs:eu-west-1:111122223333:alarms", "arn:aws:sns:eu-west-1:1:x"],
        ),
        (
            "ScheduleExpression",
            ["off", "rate(1 minute)", "rate(2 minutes)", "rate(1 hour)", "rate(12 hours)", "cron(0/10 * * * ? *)"],
            ["rate(1 minutes)", "rate(2 minute)", "rate(0 minutes)", "every 5 minutes", "OFF"],
        ),
        (
            "KeyPrefix",
            ["a/", "onepassword/v1/", "A-b_c.d/"],
            ["", "a", "/a/", "a//", "k=v/", "../", "quarantine/", "quarantine/a/"]
            + ["a/vpcflowlogs/", "WAFLogs/", "a/aws-waf-logs-x/", "amazon_kinesis/", "1_CloudTrail/"],
        ),
        ("ObjectLock", ["", "GOVERNANCE:1", "COMPLIANCE:3650"], ["GOVERNANCE", "30", "GOVERNANCE:0", "governance:1"]),
        ("Vpc", ["subnet-1a/sg-2b", "subnet-1a,subnet-2b/sg-3c,sg-4d"], ["subnet-1a", "sg-2b", "subnet-1a/", "a/b"]),
        ("HttpsProxy", ["http://proxy:3128", "https://proxy.example"], ["proxy:3128", "http://u:p@proxy"]),
        ("KmsKeyArn", ["arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/0f1e"], ["alias/a", "0f1e"]),
        ("RolePath", ["/", "/team/app/"], ["", "team/", "/team"]),
        ("DatabaseName", ["", "one_password1"], ["One", "a-b"]),
        ("ExistingBucketName", ["", "my.bucket-1"], ["s3://bucket", "My", "a"]),
        ("BucketOwnerAccountId", ["", "111122223333"], ["1111"]),
    ],
)
def test_patterns_refuse_what_cannot_be_right(parameter, good, bad):
    pattern = PARAMETERS[parameter]["AllowedPattern"]
    assert [text for text in good if not re.search(pattern, text)] == []
    assert [text for text in bad if re.search(pattern, text)] == []


# What the stack does with each Rule is in test_stack.py.
def test_every_rule_says_what_to_do():
    for name, rule in SOURCE["Rules"].items():
        for assertion in rule["Assertions"]:
            assert re.search(r"Set|Use", assertion["AssertDescription"]), name


# The function


def test_every_variable_of_the_function_is_set_and_no_other():
    source = code("core/src/config.rs").split("#[cfg(test)]")[0]
    read = set(re.findall(r'\b(?:set|required)\("([A-Z_]+)"\)', source))
    assert read == set(re.findall(r"^//! \| `([A-Z_]+)` \|", source, re.MULTILINE))
    variables = RESOURCES["CollectorFunction"]["Properties"]["Environment"]["Variables"]
    # The proxy is read by the HTTP clients, the threshold by glibc.
    assert sorted(variables) == sorted([*read, "HTTPS_PROXY", "MALLOC_MMAP_THRESHOLD_"])


def test_what_is_set_without_a_parameter_is_the_default_of_the_function():
    variables = RESOURCES["CollectorFunction"]["Properties"]["Environment"]["Variables"]
    literal = {name: value for name, value in variables.items() if isinstance(value, str)}
    assert literal.pop("MALLOC_MMAP_THRESHOLD_") == "1048576"
    assert literal == {"FEEDS": ",".join(FEEDS), "LOOKBACK_DAYS": "120", "EXCLUDE_BEFORE": "", "EXTRA_CA_FILE": ""}
    assert "API_RETENTION_DAYS: u32 = 120" in code("core/src/config.rs")
    assert re.findall(r"^    #\[serde\(rename.*|=> \"(\w+)\",$", code("core/src/feed.rs"), re.MULTILINE)[:3] == FEEDS


def test_lambda_drops_no_line():
    logging = RESOURCES["CollectorFunction"]["Properties"]["LoggingConfig"]
    assert (logging["LogFormat"], logging["ApplicationLogLevel"], logging["SystemLogLevel"]) == (
        "JSON",
        "TRACE",
        "DEBUG",
    )
    assert "Tracing" not in RESOURCES["CollectorFunction"]["Properties"]


def test_the_subnets_come_before_the_slash_and_the_security_groups_after_it():
    (vpc,) = branches(RESOURCES["CollectorFunction"]["Properties"]["VpcConfig"])

    def part(index: int) -> dict:
        return {"Fn::Split": [",", {"Fn::Select": [index, {"Fn::Split": ["/", {"Ref": "Vpc"}]}]}]}

    assert vpc == {"SubnetIds": part(0), "SecurityGroupIds": part(1)}


def test_failed_runs_are_reported_and_not_repeated():
    invoke = RESOURCES["CollectorFunction"]["Properties"]["EventInvokeConfig"]
    assert invoke["MaximumRetryAttempts"] == 0
    assert invoke["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": "FailureQueue.Arn"}
    schedules = of_type("AWS::Scheduler::Schedule")
    assert len(schedules) == 5
    for name, schedule in schedules.items():
        target = schedule["Properties"]["Target"]
        assert target["RetryPolicy"]["MaximumRetryAttempts"] == 0
        assert target["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": "FailureQueue.Arn"}
        assert schedule["Properties"]["State"] == {"Fn::If": ["IsOff", "DISABLED", "ENABLED"]}, name


def test_the_resyncs_reach_as_far_as_the_documents_say():
    inputs = {
        name: json.loads(body["Properties"]["Target"]["Input"])
        for name, body in of_type("AWS::Scheduler::Schedule").items()
    }
    assert inputs == {
        "CollectorSchedule": {},
        "HourlyResyncSchedule": {"resync": {"hours": 6}},
        "DailyResyncSchedule": {"resync": {"days": 3}},
        "WeeklyResyncSchedule": {"resync": {"days": 14}},
        "MonthlyResyncSchedule": {"resync": {"days": 120}},
    }


# Roles and policies


def test_every_role_has_the_boundary_and_the_path():
    roles = of_type("AWS::IAM::Role")
    assert sorted(roles) == ["CollectorRole", "ScheduleRole"]
    for role in roles.values():
        properties = role["Properties"]
        assert properties["PermissionsBoundary"]["Fn::If"][:2] == [
            "HasPermissionsBoundary",
            {"Ref": "PermissionsBoundaryArn"},
        ]
        assert properties["Path"] == {"Ref": "RolePath"}
        assert "ManagedPolicyArns" not in properties
    # SAM would make a role for a function without one.
    for function in of_type("AWS::Serverless::Function").values():
        assert function["Properties"]["Role"] == {"Fn::GetAtt": "CollectorRole.Arn"}
        assert "Policies" not in function["Properties"]
    athena = yaml.load((ROOT / "infra/athena.yaml").read_text(), Loader)
    assert "AWS::IAM::Role" not in {body["Type"] for body in athena["Resources"].values()}


def test_roles_allow_exact_actions_on_exact_resources():
    allowed = role_statements()
    for name, statement in allowed.items():
        assert statement["Effect"] == "Allow", name
        assert not [action for action in each(statement["Action"]) if "*" in action], name
    # Its comment in the template says why.
    assert [name for name, statement in allowed.items() if "*" in each(statement["Resource"])] == [
        "CollectorRole.JoinVpc"
    ]
    assert allowed["CollectorRole.JoinVpc"]["Condition"] == {"Null": {"lambda:SourceFunctionArn": "true"}}


def test_the_role_allows_the_calls_of_the_code_and_no_other():
    # A HEAD and a read are GetObject; an upload is made, filled and completed
    # by PutObject.
    by_call = {
        "get_secret_value": "secretsmanager:GetSecretValue",
        "get_item": "dynamodb:GetItem",
        "put_item": "dynamodb:PutItem",
        "list_objects_v2": "s3:ListBucket",
        "head_object": "s3:GetObject",
        "get_object": "s3:GetObject",
        "create_multipart_upload": "s3:PutObject",
        "upload_part": "s3:PutObject",
        "complete_multipart_upload": "s3:PutObject",
        "put_object": "s3:PutObject",
        "abort_multipart_upload": "s3:AbortMultipartUpload",
        # `oplake` alone makes these, with the credentials of whoever runs it.
        "copy_object": None,
        "delete_object": None,
        "delete_item": None,
        "scan": None,
        "query": None,
        "describe_table": None,
    }
    sources = [code(f"aws/src/{name}.rs").split("#[cfg(test)]")[0] for name in ("s3", "dynamodb", "secrets")]
    made = set(re.findall(r"client\s*\.(\w+)\(\)", "".join(sources)))
    assert made <= by_call.keys(), made - by_call.keys()
    needed = {by_call[call] for call in made} - {None}
    beside_the_code = {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "sqs:SendMessage",
        "kms:GenerateDataKey",
        "kms:Decrypt",
    }
    collector = {name: body for name, body in role_statements().items() if name.startswith("CollectorRole.")}
    collector.pop("CollectorRole.JoinVpc")
    assert {action for body in collector.values() for action in each(body["Action"])} == needed | beside_the_code


def test_keys_are_used_through_services_alone():
    used = {name: body for name, body in role_statements().items() if "kms:" in json.dumps(body["Action"])}
    via = {
        name: body["Condition"]["StringEquals"]["kms:ViaService"]["Fn::Sub"].split(".")[0]
        for name, body in used.items()
    }
    assert via == {"CollectorRole.EncryptLake": "s3", "CollectorRole.DecryptToken": "secretsmanager"}


def test_s3_is_allowed_below_the_prefix_alone():
    for name, statement in role_statements().items():
        if not any(action.startswith("s3:") for action in each(statement["Action"])):
            continue
        if statement["Action"] == "s3:ListBucket":
            assert statement["Condition"] == {"StringLike": {"s3:prefix": {"Fn::Sub": "${KeyPrefix}*"}}}
            continue
        for resource in branches(statement["Resource"]):
            assert re.search(r"/(quarantine/)?\$\{KeyPrefix\}\*$", resource["Fn::Sub"]), name


def test_nothing_is_reached_by_plain_http():
    policies = {
        "ArchiveBucketPolicy": "PolicyDocument",
        "FailureQueuePolicy": "PolicyDocument",
        "ObjectsTopicPolicy": "PolicyDocument",
        "AlarmTopicPolicy": "PolicyDocument",
        "TokenSecretPolicy": "ResourcePolicy",
    }
    for name, key in policies.items():
        (deny,) = [
            body for body in statements(RESOURCES[name]["Properties"][key]) if body["Sid"] == "DenyInsecureTransport"
        ]
        assert (deny["Effect"], deny["Principal"]) == ("Deny", "*")
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_no_policy_locks_the_administrator_out():
    documents = [
        node[key]
        for node in walk(RESOURCES)
        if isinstance(node, dict)
        for key in ("PolicyDocument", "ResourcePolicy")
        if key in node
    ]
    denies = [body for document in documents for body in statements(document) if body["Effect"] == "Deny"]
    assert {deny["Sid"] for deny in denies} == {"DenyInsecureTransport", "DenyOtherAccounts"}
    (other,) = [deny for deny in denies if deny["Sid"] == "DenyOtherAccounts"]
    assert other["Condition"]["StringNotEquals"] == {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}


def test_whom_a_service_may_act_for_is_said():
    for name in ("ObjectsTopicPolicy", "AlarmTopicPolicy"):
        allow = RESOURCES[name]["Properties"]["PolicyDocument"]["Statement"][0]
        assert set(allow["Principal"]) == {"Service"}
        assert "aws:SourceAccount" in allow["Condition"]["StringEquals"]
        assert "aws:SourceArn" in allow["Condition"]["ArnLike"]
        # A reference to the bucket would be a circle.
        assert "ArchiveBucket" not in json.dumps(allow)


def test_every_partition_is_served():
    outside = [line for line in TEMPLATE.splitlines() if "arn:aws:" in line]
    assert outside == []


# What holds data


def test_data_outlives_the_stack_and_a_failed_creation_leaves_none():
    for name in KEPT:
        body = RESOURCES[name]
        assert (body["DeletionPolicy"], body["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_no_parameter_replaces_what_holds_data():
    # A generated name never changes, and nothing else of these is fixed at
    # creation but the keys of the table.
    fixed = {"BucketName", "BucketNamePrefix", "BucketNamespace", "TableName", "ImportSourceSpecification", "Name"}
    for name in KEPT:
        assert not fixed & RESOURCES[name]["Properties"].keys()
    keys = RESOURCES["CheckpointTable"]["Properties"]
    assert not [
        node
        for node in walk([keys["KeySchema"], keys["AttributeDefinitions"]])
        if isinstance(node, dict) and "Ref" in node
    ]


def test_the_table_has_the_keys_of_the_code():
    properties = RESOURCES["CheckpointTable"]["Properties"]
    keys = [(key["AttributeName"], key["KeyType"]) for key in properties["KeySchema"]]
    assert keys == [("account", "HASH"), ("feed", "RANGE")]
    for name, _ in keys:
        assert f'"{name}"' in code("aws/src/dynamodb.rs")
    assert properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert properties["BillingMode"] == "PAY_PER_REQUEST"


def test_no_token_is_in_the_template():
    assert not {"SecretString", "GenerateSecretString"} & RESOURCES["TokenSecret"]["Properties"].keys()


def test_the_bucket_is_private_and_cleans_up():
    bucket = RESOURCES["ArchiveBucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    rules = {rule["Id"]: rule for found in bucket["LifecycleConfiguration"]["Rules"] for rule in branches(found)}
    assert rules["AbortIncompleteUploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    expire = rules["ExpireObjects"]
    assert (expire["ExpirationInDays"], expire["NoncurrentVersionExpiration"]) == (
        {"Ref": "RetentionDays"},
        {"NoncurrentDays": 1},
    )
    assert rules["ExpireDeleteMarkers"]["ExpiredObjectDeleteMarker"] is True
    assert "Transition" not in json.dumps(bucket)
    with_key, without = branches(bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0])
    assert with_key["BucketKeyEnabled"] is True
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": {"Ref": "KmsKeyArn"}}
    assert with_key["ServerSideEncryptionByDefault"] == default
    assert without["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def test_every_object_of_a_feed_is_told_of_and_nothing_else():
    told = RESOURCES["ArchiveBucket"]["Properties"]["NotificationConfiguration"]["TopicConfigurations"]
    for notification, feed in zip(told, FEEDS, strict=True):
        assert notification["Event"] == "s3:ObjectCreated:*"
        rules = {rule["Name"]: rule["Value"] for rule in notification["Filter"]["S3Key"]["Rules"]}
        assert rules == {"prefix": {"Fn::Sub": f"${{KeyPrefix}}{feed}/"}, "suffix": ".json.gz"}
    assert 'SUFFIX: &str = ".json.gz"' in code("aws/src/s3.rs")
    assert RESOURCES["ArchiveBucket"]["DependsOn"] == "ObjectsTopicPolicy"


def test_every_setting_reaches_athena():
    athena = yaml.load((ROOT / "infra/athena.yaml").read_text(), Loader)
    given = RESOURCES["Athena"]["Properties"]["Parameters"]
    optional = {name for name, parameter in athena["Parameters"].items() if "Default" in parameter}
    assert athena["Parameters"].keys() - optional <= given.keys() <= athena["Parameters"].keys()
    for name in given.keys() & PARAMETERS.keys():
        assert given[name] == {"Ref": name}


# Alarms


def headings(document: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", (ROOT / "docs" / document).read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_alarm_names_its_section_of_the_runbook():
    alarms = of_type("AWS::CloudWatch::Alarm") | of_type("AWS::CloudWatch::CompositeAlarm")
    named = set()
    for name, alarm in alarms.items():
        found = re.search(r"See docs/runbook\.md#([a-z0-9-]+)\.$", alarm["Properties"]["AlarmDescription"])
        assert found, name
        named.add(found[1])
    assert named <= headings("runbook.md")
    assert headings("runbook.md") - named == {"runbook", "try-the-alarms"}


def test_every_alarm_watches_a_metric_that_exists():
    metrics = code("core/src/metrics.rs").split("#[cfg(test)]")[0]
    known = {name: unit for name, unit in re.findall(r"^/// \| `(\w+)` \| (\w+) \|", metrics, re.MULTILINE)}
    assert len(known) == 10
    for name in known:
        assert f'"{name}":' in metrics or f'values["{name}"]' in metrics
    namespace = re.search(r'NAMESPACE: &str = "(\w+)"', metrics)[1]
    dimension = re.search(r'"Dimensions": \[\["(\w+)"\]\]', metrics)[1]
    watched = set()
    for name, alarm in of_type("AWS::CloudWatch::Alarm").items():
        properties = alarm["Properties"]
        if properties["Namespace"] == "AWS/SQS":
            continue
        assert properties["Namespace"] == namespace, name
        assert properties["Dimensions"] == [{"Name": dimension, "Value": {"Ref": "CollectorFunction"}}], name
        watched.add(properties["MetricName"])
    assert watched == known.keys()


def test_every_alarm_tells_somebody_and_knows_what_silence_means():
    topic = {"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmDestination"}, {"Ref": "AlarmTopic"}]}
    silence = {}
    for name, alarm in of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["Properties"]["AlarmActions"] == [topic], name
        silence[name.removesuffix("Alarm")] = alarm["Properties"]["TreatMissingData"]
    # A run that tells nothing is the trouble itself, unless nothing should run.
    assert silence.pop("NoSuccessfulRun") == {"Fn::If": ["IsOff", "notBreaching", "breaching"]}
    # A state that lasts is not over because nobody looks.
    assert {name for name, treatment in silence.items() if treatment == "ignore"} == {"Lag", "Unauthorized"}
    assert {treatment for treatment in silence.values()} == {"ignore", "notBreaching"}
    (composite,) = of_type("AWS::CloudWatch::CompositeAlarm").values()
    assert composite["Properties"]["OKActions"] == [topic]


def test_no_token_is_quiet_for_an_hour():
    alarm = RESOURCES["NoTokenAlarm"]["Properties"]
    assert (alarm["Statistic"], alarm["Period"], alarm["EvaluationPeriods"]) == ("Minimum", 3600, 2)
    assert alarm["TreatMissingData"] == "notBreaching"


def test_the_dashboard_asks_for_fields_and_metrics_that_exist():
    body = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(body)["widgets"]
    fields = set(re.findall(r"^ +(\w+\.\w+|outcome|lag_seconds)\b", code("core/src/collect.rs"), re.MULTILINE))
    own = code("core/src/metrics.rs")
    for widget in widgets:
        properties = widget["properties"]
        if widget["type"] == "log":
            query = properties["query"].split("|", 1)[1]
            asked = set(re.findall(r"\b(?:account|feed|events|late_events|objects|pages|error)\.\w+|\blag_seconds\b|\boutcome\b", query))
            assert asked and asked <= fields, properties["title"]
        else:
            namespace = None
            for metric in properties["metrics"]:
                namespace = namespace if metric[0] in (".", "...") else metric[0]
                if namespace == "OnePasswordEventsLake":
                    assert f'"{metric[1]}"' in own, metric
    asked = " ".join(widget["properties"]["title"] for widget in widgets)
    for word in ("Events by feed", "Lag", "Run time", "Failures", "Objects", "Bytes", "token expires", "Late", "Latency"):
        assert word in asked


# Outputs and the rest


def test_the_documents_use_outputs_that_exist():
    for document in ("runbook.md", "deploy.md", "observability.md"):
        used = re.findall(r"\$\(out (\w+)\)", (ROOT / "docs" / document).read_text())
        assert set(used) <= SOURCE["Outputs"].keys(), document
    for name, output in SOURCE["Outputs"].items():
        assert output["Description"].endswith("."), name


def test_each_suppressed_check_has_its_reason():
    for text in (TEMPLATE, (ROOT / "infra/athena.yaml").read_text()):
        skipped = re.findall(r"\{ id: (CKV\w+), comment: '([^']+)' \}", text)
        assert len(skipped) == text.count("CKV")
        assert all(len(reason) > 20 for _, reason in skipped)


def test_cloudformation_takes_the_template_as_it_is():
    # A larger one can only be given by S3.
    assert len(TEMPLATE.encode()) <= 51_200


# infra/deploy-policy.json


def policy() -> dict:
    return json.loads((ROOT / "infra/deploy-policy.json").read_text())


def test_a_deployer_is_allowed_exact_actions_for_one_purpose_each():
    found = policy()["Statement"]
    assert len({statement["Sid"] for statement in found}) == len(found)
    for statement in found:
        assert statement["Effect"] == "Allow"
        assert statement["Action"] == sorted(statement["Action"])
        assert not [action for action in statement["Action"] if "*" in action]
    # These actions know no resource.
    anywhere = {action for statement in found if statement["Resource"] == "*" for action in statement["Action"]}
    assert anywhere == {
        "cloudformation:GetTemplateSummary",
        "cloudformation:ValidateTemplate",
        "cloudwatch:DescribeAlarms",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "logs:DescribeIndexPolicies",
        "logs:DescribeLogGroups",
        "logs:DescribeResourcePolicies",
    }
    # The limit of the policies that a role holds itself.
    assert len(json.dumps(policy(), separators=(",", ":"))) <= 10_240


def test_a_deployer_is_allowed_what_cloudformation_does_for_each_resource():
    """By the schemas of AWS's resource types, as cfn-lint brings them along."""
    (schemas,) = ROOT.glob(".venv/sam/lib/python3*/site-packages/cfnlint/data/schemas")
    files = json.loads((schemas / "providers/us-east-1.json").read_text())
    athena = yaml.load((ROOT / "infra/athena.yaml").read_text(), Loader)
    kinds = {body["Type"] for body in [*RESOURCES.values(), *athena["Resources"].values()]} - {
        "AWS::Serverless::Function"
    }
    kinds |= {"AWS::Lambda::Function", "AWS::Lambda::EventInvokeConfig"}
    allowed = {action for statement in policy()["Statement"] for action in statement["Action"]}
    # The verbs by which a resource of this template is made and unmade; the
    # schemas also list what properties need that the template does not set.
    verb = re.compile(r":(Create|Delete)(?=[A-Z])")
    not_set = {
        "dynamodb:CreateTableReplica",
        "dynamodb:DeleteItem",
        "dynamodb:DeleteResourcePolicy",
        "glue:CreateConnection",
        "glue:DeleteConnection",
        "iam:CreateServiceLinkedRole",
        "kms:CreateGrant",
        "lakeformation:CreateTable",
        "lambda:DeleteFunctionCodeSigningConfig",
        "logs:CreateLogDelivery",
        "logs:CreateLogStream",
        "logs:DeleteDataProtectionPolicy",
        "logs:DeleteIndexPolicy",
        "logs:DeleteResourcePolicy",
        "s3:CreateBucketMetadataTableConfiguration",
        "s3:DeleteBucketAnalyticsConfiguration",
        "s3:DeleteBucketCors",
        "s3:DeleteBucketEncryption",
        "s3:DeleteBucketLifecycle",
        "s3:DeleteBucketMetadataTableConfiguration",
        "s3:DeleteBucketMetricsConfiguration",
        "s3:DeleteBucketReplication",
        "s3:DeleteBucketWebsite",
        "s3:DeleteObject",
        "s3tables:CreateNamespace",
        "s3tables:CreateTable",
        "s3tables:CreateTableBucket",
    }
    for kind in sorted(kinds):
        handlers = json.loads((schemas / f"resources/{files[kind]}.json").read_text())["handlers"]
        listed = {action for step in ("create", "delete") for action in handlers.get(step, {}).get("permissions", [])}
        missing = {action for action in listed if verb.search(action)} - allowed - not_set
        assert not missing, kind
