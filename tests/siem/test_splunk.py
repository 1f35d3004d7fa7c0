"""infra/siem/splunk, checked by a model of what Splunk documents; no Splunk has seen it.

What the model leaves out stands in infra/siem/splunk/README.md, under "To be checked".
"""

import functools
import gzip
import importlib.util
import io
import json
import os
import re
import shutil
import tarfile
import tomllib
from collections import Counter
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from events import FEEDS, collected
from programs import ROOT

SPLUNK = ROOT / "infra/siem/splunk"
APP = SPLUNK / "TA-onepassword-s3"

# https://github.com/1Password/events-api-splunk, default/props.conf
SOURCETYPES = {
    "signin_attempts": "1password:insights:signin_attempts",
    "item_usages": "1password:insights:item_usages",
    "audit_events": "1password:insights:audit_events",
}

# Fields of type "required" in https://github.com/splunk/pytest-splunk-addon,
# pytest_splunk_addon/data_models/{Authentication,Change}.json
REQUIRED = {
    "authentication": set("action app dest src user".split()),
    "change": set(
        """action change_type command dest dvc object object_attrs object_category object_id src status user
        vendor_product""".split()
    ),
}
# What the API does not say of every event.
AT_TIMES = {"src": ("session", "ip"), "object_id": ("object_uuid",), "object_attrs": ("aux_info",)}
# https://help.splunk.com/en/splunk-enterprise/common-information-model/6.1/data-models/change-analysis-deprecated
# lists the values of a change's action.
ACTIONS = {
    "authentication": {"success", "failure"},
    "change": {"acl_modified", "cleared", "created", "deleted", "modified", "read", "stopped", "updated"},
}


# --- the grammar of conf files ---------------------------------------------------


def parse(text: str) -> dict[str, dict[str, str]]:
    """Stanzas, `key = value`, comments on lines of their own, and values that a `\\` at the end continues."""
    conf: dict[str, dict[str, str]] = {}
    stanza = None
    for line in re.sub(r"\\\n", "\x00", text).splitlines():
        if not line.strip() or line.startswith("#"):
            assert "\x00" not in line, "a comment or an empty line is continued"
        elif found := re.fullmatch(r"\[(.*)\]", line):
            assert found[1] not in conf, f"[{found[1]}] stands twice"
            stanza = conf[found[1]] = {}
        else:
            assert stanza is not None, f"outside of a stanza: {line}"
            key, equals, value = line.partition("=")
            assert equals and re.fullmatch(r"[\w-]+", key.strip()), line
            assert key.strip() not in stanza, f"{key} stands twice"
            stanza[key.strip()] = value.replace("\x00", "\n").strip()
    return conf


def conf(name: str) -> dict[str, dict[str, str]]:
    return parse((APP / name).read_text())


@pytest.fixture
def props():
    return conf("default/props.conf")


@pytest.fixture
def transforms():
    return conf("default/transforms.conf")


# --- a model of eval -------------------------------------------------------------

TOKEN = re.compile(r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|'(?P<field>[^']+)'|(?P<name>\w+)|(?P<sign>==|!=|[+.(),]))""")


def replaced(text, pattern, replacement):
    return None if text is None else re.sub(pattern, re.sub(r"\\(\d)", r"\\g<\1>", replacement), text)


def parsed_time(text, form):
    # Splunk documents %z as +hhmm or -hhmm; Python takes more.
    if text is None or ("%z" in form and not re.search(r"[+-]\d{4}$", text)):
        return None
    try:
        return datetime.strptime(text, form).timestamp()
    except ValueError:
        return None


def number(text):
    return float(text) if text is not None and re.fullmatch(r"\d+(\.\d+)?", text) else None


FUNCTIONS = {
    "replace": replaced,
    "strptime": parsed_time,
    "tonumber": number,
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "if": lambda condition, yes, no: yes if condition else no,
    "in": lambda value, *values: value in values,
    "case": lambda *pairs: next((value for test, value in zip(pairs[::2], pairs[1::2], strict=True) if test), None),
    "true": lambda: True,
}


class Eval:
    """Strings, fields, `==`, `!=`, `+`, `.` and FUNCTIONS; anything else is an error, as is `+` beside `.`."""

    def __init__(self, text: str):
        self.tokens = []
        self.fields = set()
        end = 0
        while text[end:].strip():
            token = TOKEN.match(text, end)
            assert token, f"cannot read {text[end:]!r}"
            self.tokens.append((token.lastgroup, token[token.lastgroup]))
            end = token.end()
        self.run = self.comparison()
        assert not self.tokens, f"left over: {self.tokens}"

    def take(self, *signs):
        if self.tokens and self.tokens[0][0] == "sign" and self.tokens[0][1] in signs:
            return self.tokens.pop(0)[1]
        return None

    def comparison(self):
        left = self.sum()
        if not (sign := self.take("==", "!=")):
            return left
        right = self.sum()
        return lambda event: (left(event) == right(event)) == (sign == "==")

    def sum(self):
        terms, signs = [self.term()], set()
        while sign := self.take("+", "."):
            signs.add(sign)
            terms.append(self.term())
        assert len(signs) < 2, "the order of + and . is not modelled"

        def run(event):
            values = [term(event) for term in terms]
            if None in values or not signs:
                return None if None in values else values[0]
            kind, add = (str, "".join) if signs == {"."} else (float, sum)
            assert all(type(value) is kind for value in values), values
            return add(values)

        return run

    def term(self):
        kind, text = self.tokens.pop(0)
        if kind == "string":
            value = text[1:-1].replace('\\"', '"')
            return lambda event: value
        if kind == "name" and self.take("("):
            arguments = []
            while not self.take(")"):
                arguments.append(self.comparison())
                self.take(",")
            function = FUNCTIONS[text]
            return lambda event: function(*(argument(event) for argument in arguments))
        assert kind in ("name", "field"), f"unexpected {text}"
        self.fields.add(text)
        return lambda event: event.get(text)


@functools.cache
def compiled(text: str) -> Eval:
    return Eval(text)


def test_the_model_of_eval_reads_what_splunk_documents():
    event = {"a": "x", "b.c": "y"}
    assert Eval('if(a=="x", "yes", "no")').run(event) == "yes"
    assert Eval("coalesce(missing, 'b.c')").run(event) == "y"
    assert Eval('replace("1/12/2017", "^(\\d{1,2})/(\\d{1,2})/", "\\2/\\1/")').run(event) == "12/1/2017"
    assert Eval('strptime("2011-12-13 00:00:00 +0100", "%Y-%m-%d %H:%M:%S %z")').run(event) == 1323730800
    assert Eval('case(a=="y", "1", in(a, "w", "x"), "2", true(), "3")').run(event) == "2"
    with pytest.raises(KeyError):
        Eval("md5(a)")


# --- a model of what happens at index time ---------------------------------------


def broken(text: str, stanza: dict) -> list[str]:
    """Events of a file: LINE_BREAKER's first group separates them and goes, TRUNCATE cuts them."""
    assert stanza["SHOULD_LINEMERGE"] == "false"
    events, start = [], 0
    for found in re.finditer(stanza["LINE_BREAKER"], text):
        events.append(text[start : found.start(1)])
        start = found.end(1)
    limit = int(stanza["TRUNCATE"]) or None
    return [event.encode()[:limit].decode() for event in [*events, text[start:]] if event]


def recognised(raw: str, stanza: dict) -> float | None:
    """_time by TIME_PREFIX and TIME_FORMAT; what follows the format within the lookahead is ignored."""
    found = re.search(stanza["TIME_PREFIX"], raw)
    if not found:
        return None
    assert (stanza["TIME_FORMAT"], stanza["TZ"]) == ("%Y-%m-%dT%H:%M:%S", "UTC"), "not modelled"
    ahead = raw[found.end() :][: int(stanza["MAX_TIMESTAMP_LOOKAHEAD"])]
    text = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", ahead)
    return datetime.fromisoformat(text[0]).replace(tzinfo=UTC).timestamp() if text else None


def indexed(raw: str, stanza: dict, transforms: dict) -> float | None:
    """_time after the transforms."""
    event = {"_raw": raw, "_time": recognised(raw, stanza)}
    for key, names in stanza.items():
        if key.startswith("TRANSFORMS-"):
            for name in filter(None, names.split(",")):
                field, _, expression = transforms[name.strip()]["INGEST_EVAL"].partition("=")
                event[field.strip()] = compiled(expression).run(event)
    return event["_time"]


def exact(text: str) -> Fraction:
    """The same time without a floating point: RFC 3339 to seconds."""
    wall, digits, sign, hours, minutes = re.fullmatch(
        r"([^.Z+]{19})(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))", text
    ).groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    whole = datetime.fromisoformat(wall).replace(tzinfo=timezone(offset))
    return Fraction(int(whole.timestamp())) + (Fraction(int(digits), 10 ** len(digits)) if digits else 0)


MICROSECOND = Fraction(1, 10**6)


def times_are_exact(props, transforms):
    digits, offsets = set(), set()
    for feed, sourcetype in SOURCETYPES.items():
        for raw in collected()[feed]:
            text = json.loads(raw)["timestamp"]
            time = indexed(raw, props[sourcetype], transforms)
            assert time is not None and abs(Fraction(time) - exact(text)) < MICROSECOND, f"{text} became {time}"
            digits.add(len(re.search(r"(?:\.(\d+))?(Z|.\d\d:\d\d)$", text)[1] or ""))
            offsets.add(re.search(r"(Z|.\d\d:\d\d)$", text)[1])
    assert digits == set(range(10))
    assert offsets >= {"Z", "+02:00", "-03:30", "+05:45", "+14:00", "-12:00", "-00:00"}


def seconds_remain_without_the_transform(props, _):
    for feed, sourcetype in SOURCETYPES.items():
        for raw in collected()[feed]:
            text = json.loads(raw)["timestamp"]
            time = recognised(raw, props[sourcetype])
            # Of a time with an offset, the wall clock remains.
            wall = exact(text if text.endswith("Z") else text[: -len("+00:00")] + "Z")
            assert time is not None and 0 <= wall - Fraction(time) < 1, f"{text} became {time}"


def lines_stay_whole(props, _):
    for feed, sourcetype in SOURCETYPES.items():
        lines = [*collected()[feed], json.dumps({"timestamp": "2026-01-02T03:04:05Z", "long": "x" * 1_000_000})]
        # Characters at which other programs break lines. The collector escapes the last
        # three; a Splunk sees them if another program wrote the object.
        lines.append('{"timestamp":"2026-01-02T03:04:05Z","name":"a\x0b\x0c\x1c\u0085\u2028\u2029b"}')
        assert broken("\n".join(lines) + "\n", props[sourcetype]) == lines


def test_times_are_exact(props, transforms):
    times_are_exact(props, transforms)


def test_seconds_remain_without_the_transform(props):
    seconds_remain_without_the_transform(props, None)


def test_lines_stay_whole(props):
    lines_stay_whole(props, None)


@pytest.mark.parametrize("value", ['"yesterday"', '""', "null", '"2026-13-41T03:04:05Z"', '"2026-01-02T03:04:05"'])
def test_a_time_that_cannot_be_read_leaves_the_one_there_was(value, transforms):
    expression = transforms["onepassword_event_time"]["INGEST_EVAL"].partition("=")[2]
    for raw in f'{{"timestamp":{value}}}', "{}", "":
        assert Eval(expression).run({"_raw": raw, "_time": 1.5}) == 1.5


def test_a_string_that_looks_like_a_timestamp_is_none(props, transforms):
    event = {"a": '"timestamp":"1999-01-01T00:00:00Z"', "timestamp": "2026-01-02T03:04:05.5Z"}
    raw = json.dumps(event, separators=(",", ":"))
    for sourcetype in SOURCETYPES.values():
        assert indexed(raw, props[sourcetype], transforms) == exact("2026-01-02T03:04:05.5Z")


# --- a model of what happens at search time --------------------------------------


def extracted(value, path="") -> dict[str, str]:
    """Fields by KV_MODE = json, which writes null as a word; lists are left out."""
    if isinstance(value, dict):
        return {
            k: v for key, inner in value.items() for k, v in extracted(inner, f"{path}.{key}" if path else key).items()
        }
    return {} if isinstance(value, list) else {path: value if isinstance(value, str) else json.dumps(value)}


def aliases(stanza: dict) -> list[tuple[str, str]]:
    found = [value for key, value in stanza.items() if key.startswith("FIELDALIAS-")]
    return [tuple(re.fullmatch(r"(\S+) AS (\S+)", value).groups()) for value in found]


def calculated(stanza: dict) -> dict[str, Eval]:
    return {key.removeprefix("EVAL-"): compiled(value) for key, value in stanza.items() if key.startswith("EVAL-")}


def found(raw: str, stanza: dict) -> dict[str, str]:
    """Fields of an event: extractions, then aliases, then calculations, none of which sees another's result."""
    assert stanza["KV_MODE"] == "json"
    event = extracted(json.loads(raw))
    event |= {alias: event[source] for source, alias in aliases(stanza) if source in event}
    values = {field: evaluation.run(event) for field, evaluation in calculated(stanza).items()}
    return event | {field: value for field, value in values.items() if value is not None}


def tags(sourcetype: str, event: dict, eventtypes: dict, tagged: dict) -> set[str]:
    """Tags by event types of the form `sourcetype="…"`, `NOT field IN ("…", …)`."""
    result = set()
    for name, eventtype in eventtypes.items():
        search = re.fullmatch(r'sourcetype="([^"]+)"(?: NOT (\w+) IN \(([^)]+)\))?', eventtype["search"])
        of, field, values = search.groups()
        if of == sourcetype and not (field and event.get(field) in re.findall(r'"([^"]+)"', values)):
            result |= {tag for tag, state in tagged[f"eventtype={name}"].items() if state == "enabled"}
    return result


def every_source_resolves(props, _):
    for feed, sourcetype in SOURCETYPES.items():
        seen = {field for raw in collected()[feed] for field in extracted(json.loads(raw))}
        sources = {source for source, _ in aliases(props[sourcetype])}
        for evaluation in calculated(props[sourcetype]).values():
            sources |= evaluation.fields
        assert sources and sources <= seen, f"no event of {feed} has {sources - seen}"


def required_fields_are_filled(props, _):
    eventtypes, tagged = conf("default/eventtypes.conf"), conf("default/tags.conf")
    counted = Counter()
    for feed, sourcetype in SOURCETYPES.items():
        for raw in collected()[feed]:
            event, fields = json.loads(raw), found(raw, props[sourcetype])
            for model in tags(sourcetype, fields, eventtypes, tagged):
                counted[feed, model] += 1
                for field in REQUIRED[model] - fields.keys():
                    value = event
                    for key in AT_TIMES[field]:
                        value = value.get(key, {})
                    assert not value, f"{field} is missing in {raw}"
                assert fields["action"] in ACTIONS[model], raw
                assert all(fields[field] for field in REQUIRED[model] & fields.keys())
    assert set(counted) == {("signin_attempts", "authentication"), ("audit_events", "change")}
    assert counted["signin_attempts", "authentication"] == len(collected()["signin_attempts"])
    plumbing = sum(json.loads(raw)["object_type"] in ("dlgdsess", "ssotkn") for raw in collected()["audit_events"])
    assert plumbing and counted["audit_events", "change"] == len(collected()["audit_events"]) - plumbing


def fields_say_what_the_event_says(props, _):
    for raw in collected()["signin_attempts"]:
        event, fields = json.loads(raw), found(raw, props[SOURCETYPES["signin_attempts"]])
        assert (fields["action"] == "success") == (event["category"] in ("success", "firewall_reported_success"))
        assert fields["user"] == event["target_user"].get("email", event["target_user"]["uuid"])
        assert (fields["src"], fields["app"]) == (event["client"]["ip_address"], event["client"]["app_name"])
    for raw in collected()["item_usages"]:
        event, fields = json.loads(raw), found(raw, props[SOURCETYPES["item_usages"]])
        # 1Password's dashboards group item usages by this field.
        assert fields.get("action") == fields.get("command") == event.get("action")
        assert fields["user"] == event["user"].get("email", event["user"]["uuid"])
        assert (fields["object_id"], fields["object_path"]) == (event["item_uuid"], event["vault_uuid"])
    done = {}
    for raw in collected()["audit_events"]:
        event, fields = json.loads(raw), found(raw, props[SOURCETYPES["audit_events"]])
        assert fields["vendor_action"] == fields["command"] == event["action"]
        assert (fields["object_category"], fields.get("object_id")) == (event["object_type"], event.get("object_uuid"))
        done.setdefault(fields["action"], set()).add(event["action"])
    assert done["created"] == {"create"} and "delete" in done["deleted"] and "export" in done["read"]
    assert done["modified"] >= {"suspend", "grant", "join"}


def test_every_source_resolves(props):
    every_source_resolves(props, None)


def test_required_fields_are_filled(props):
    required_fields_are_filled(props, None)


def test_fields_say_what_the_event_says(props):
    fields_say_what_the_event_says(props, None)


# --- the checks bite -------------------------------------------------------------


def changed(key, old, new, feed="signin_attempts"):
    def change(props, transforms):
        stanza = transforms["onepassword_event_time"] if key == "INGEST_EVAL" else props[SOURCETYPES[feed]]
        assert old in stanza[key]
        stanza[key] = stanza[key].replace(old, new)

    return change


@pytest.mark.parametrize(
    ("check", "change"),
    [
        (times_are_exact, changed("INGEST_EVAL", "timestamp", "time")),
        (times_are_exact, changed("INGEST_EVAL", r"\.?(\d*)", r"\.?(\d{0,3})")),
        (times_are_exact, changed("INGEST_EVAL", r"([+-]\d\d):?(\d\d)$", r"([+-])(\d\d):?\d\d$")),
        (times_are_exact, changed("INGEST_EVAL", '"+00:00"', '"Z"')),
        (times_are_exact, changed("TRANSFORMS-onepassword_event_time", "onepassword_event_time", "")),
        (seconds_remain_without_the_transform, changed("TIME_PREFIX", "timestamp", "time")),
        (seconds_remain_without_the_transform, changed("TIME_PREFIX", '":"', '": "')),
        (seconds_remain_without_the_transform, changed("MAX_TIMESTAMP_LOOKAHEAD", "19", "16")),
        (lines_stay_whole, changed("TRUNCATE", "0", "5000")),
        (lines_stay_whole, changed("LINE_BREAKER", r"[\r\n]", r"[\r\n\u2028]")),
        (every_source_resolves, changed("FIELDALIAS-onepassword_s3_src", "ip_address", "ipaddress")),
        (every_source_resolves, changed("EVAL-user", "target_user", "user")),
        (required_fields_are_filled, changed("FIELDALIAS-onepassword_s3_app", "AS app", "AS application")),
        (required_fields_are_filled, changed("EVAL-action", "modified", "changed", "audit_events")),
        (fields_say_what_the_event_says, changed("EVAL-action", ', "firewall_reported_success"', "")),
        (fields_say_what_the_event_says, changed("EVAL-user", ".email", ".name", "item_usages")),
    ],
)
def test_a_wrong_setting_is_found(check, change, props, transforms):
    changed_props, changed_transforms = deepcopy(props), deepcopy(transforms)
    change(changed_props, changed_transforms)
    with pytest.raises((AssertionError, KeyError)):
        check(changed_props, changed_transforms)


# --- the rest of the app ---------------------------------------------------------


def test_what_is_searched_with_is_exported_and_nothing_else(props, transforms):
    meta = conf("metadata/default.meta")
    exported = {name for name, stanza in meta.items() if stanza["export"] == "system"}
    assert exported == {"props", "transforms", "eventtypes", "tags"}
    assert meta[""]["export"] == "none"
    assert set(props) == set(SOURCETYPES.values())
    used = {name for stanza in props.values() for key, name in stanza.items() if key.startswith("TRANSFORMS-")}
    assert used == set(transforms)
    assert {f"eventtype={name}" for name in conf("default/eventtypes.conf")} == set(conf("default/tags.conf"))


def test_settings_of_index_time_win_over_those_of_1passwords_app(props):
    # In the global context, the first in the order of ASCII wins.
    assert APP.name.encode() < b"onepassword_events_api"
    # What 1Password's app sets, so all that it could get wrong.
    theirs = {"LINE_BREAKER", "SHOULD_LINEMERGE", "TIME_PREFIX", "TIME_FORMAT", "TRUNCATE"}
    assert all(theirs <= stanza.keys() for stanza in props.values())


def test_inputs_name_the_sourcetypes_and_the_shape_of_the_messages():
    inputs = parse((APP / "README/inputs.conf.example").read_text())
    assert list(inputs) == [f"aws_sqs_based_s3://onepassword_{feed}" for feed in FEEDS]
    for feed, stanza in zip(FEEDS, inputs.values(), strict=True):
        assert stanza["sourcetype"] == SOURCETYPES[feed]
        assert (stanza["s3_file_decoder"], stanza["sqs_sns_validation"], stanza["using_dlq"]) == (
            "CustomLogs",
            "0",
            "1",
        )
        assert feed.upper() in stanza["sqs_queue_url"]


def test_version_is_that_of_the_workspace():
    app = conf("default/app.conf")
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert {app["launcher"]["version"], app["id"]["version"]} == {version}
    assert {app["package"]["id"], app["id"]["name"]} == {APP.name}


def packer(folder):
    spec = importlib.util.spec_from_file_location("package", folder / "infra/siem/splunk/package.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_package_holds_the_app_and_is_the_same_each_time(tmp_path):
    packed = packer(ROOT).package()
    shutil.copytree(SPLUNK, tmp_path / "infra/siem/splunk")
    shutil.copy(ROOT / "LICENSE", tmp_path)
    copy = tmp_path / "infra/siem/splunk" / APP.name
    (copy / "local").mkdir()
    (copy / "local/inputs.conf").write_text("[secret]\n")
    for path in copy.rglob("*.conf"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    assert packer(tmp_path).package() == packed

    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = {member.name: member for member in tar}
        assert (
            [name.removeprefix("TA-onepassword-s3/") for name in members]
            == """
            LICENSE README/inputs.conf.example default/app.conf default/eventtypes.conf default/props.conf
            default/tags.conf default/transforms.conf metadata/default.meta
        """.split()
        )
        for name, member in members.items():
            source = ROOT / "LICENSE" if name.endswith("/LICENSE") else SPLUNK / name
            assert tar.extractfile(member).read() == source.read_bytes()
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
    assert gzip.decompress(packed) and packed[4:8] == bytes(4), "the time in the header of gzip is not 0"
