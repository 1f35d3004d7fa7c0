"""MiniStack as tests/deploy has it, with what SNS and STS lack of AWS. Run by local_stack.py.

A filter on the body of a message looks into arrays of objects, such as `Records`;
subscriptions of a stack to a URL or to a queue of another account wait until
they are confirmed; a web identity provider keeps the last slash of its URL; and
the trust policy of a role for web identities sees the name of the session.
"""

import json
import os
import runpy
import threading
import uuid
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "deploy/run_ministack.py"), run_name="tests.deploy")

import ministack.app  # noqa: E402
from ministack.services import cognito, sns, sts  # noqa: E402
from ministack.services.cloudformation import provisioners  # noqa: E402

body_lookup = sns._body_lookup


def body_lookup_with_arrays(body: dict):
    lookup = body_lookup(body)
    child = lookup.child

    def child_of_array(key):
        if not isinstance(body.get(key), list):
            return child(key)
        merged = {}
        for item in filter(lambda item: isinstance(item, dict), body[key]):
            for name, value in item.items():
                merged.setdefault(name, []).extend(value if isinstance(value, list) else [value])
        return body_lookup_with_arrays(merged)

    lookup.child = child_of_array
    return lookup


sns._body_lookup = body_lookup_with_arrays


def ask_to_confirm(topic_arn: str, subscription: dict) -> None:
    url = f"{os.environ['AWS_ENDPOINT_URL']}/?Action=ConfirmSubscription&TopicArn={topic_arn}"
    message = {
        "Type": "SubscriptionConfirmation",
        "MessageId": str(uuid.uuid4()),
        "TopicArn": topic_arn,
        "Token": subscription["token"],
        "SubscribeURL": f"{url}&Token={subscription['token']}",
    }
    endpoint, body = subscription["endpoint"], json.dumps(message)
    if subscription["protocol"] == "sqs":
        sns._deliver_to_sqs(endpoint, body, False, body, topic_arn=topic_arn)
    else:
        threading.Thread(target=sns._http_post_sync, args=(endpoint, body, message["Type"]), daemon=True).start()


create_subscription = provisioners._sns_sub_create


def create_subscription_to_confirm(logical_id, props, stack_name):
    arn, attributes = create_subscription(logical_id, props, stack_name)
    topic = sns._topics.get(props["TopicArn"])
    (subscription,) = [found for found in topic["subscriptions"] if found["arn"] == arn]
    subscription["attributes"] = {"SubscriptionArn": arn, "PendingConfirmation": "false"} | subscription["attributes"]
    if props["Protocol"] == "https" or f":{topic['arn'].split(':')[4]}:" not in props["Endpoint"]:
        subscription |= {"confirmed": False, "token": str(uuid.uuid4())}
        subscription["attributes"]["PendingConfirmation"] = "true"
        ask_to_confirm(topic["arn"], subscription)
    return arn, attributes


provisioners._RESOURCE_HANDLERS["AWS::SNS::Subscription"]["create"] = create_subscription_to_confirm

session = threading.local()
trust_denied = sts._web_identity_trust_denied


def trust_denied_of_session(role_arn, params, use_json):
    session.name = sts._p(params, "RoleSessionName")
    return trust_denied(role_arn, params, use_json)


def principal_with_slash(token, provider_id, role_arn):
    claims = cognito._decode_id_token_unverified(token)
    host = claims["iss"].split("://", 1)[-1]
    keys = {f"{host}:{name}".lower(): claims[name] for name in ("aud", "sub") if name in claims}
    arn = f"arn:aws:iam::{role_arn.split(':')[4]}:oidc-provider/{host}"
    return arn, keys | {"sts:rolesessionname": session.name}


sts._web_identity_trust_denied = trust_denied_of_session
sts._web_identity_principal = principal_with_slash

if __name__ == "__main__":
    # A session of its own, so that an interrupt of the tests does not reach it.
    os.setsid()
    ministack.app.main()
