"""Every prefix, suffix and feed that a file names is that of the lake's keys.

Looks at all files of infra/siem and at what else tells consumers where to look,
and so finds those that are added later. A text that names keys, be it a prefix, a
pattern with "*", a regular expression or an example, has to match the keys of
exactly the feeds that it names; and all of them, if it names none.
"""

import fnmatch
import re
from pathlib import Path

import pytest
import yaml
from local_stack import ROOT
from template import Loader

LAKE = yaml.load((ROOT / "template.yaml").read_text(), Loader)
PREFIX = LAKE["Parameters"]["KeyPrefix"]["Default"]
NOTIFIED = LAKE["Resources"]["ArchiveBucket"]["Properties"]["NotificationConfiguration"]["TopicConfigurations"]
RULES = [{rule["Name"]: rule["Value"] for rule in item["Filter"]["S3Key"]["Rules"]} for item in NOTIFIED]
FEEDS = [re.fullmatch(r"\$\{KeyPrefix\}(\w+)/", rule["prefix"]["Fn::Sub"])[1] for rule in RULES]
(SUFFIX,) = {rule["suffix"] for rule in RULES}
# docs/semantics.md
KEYS = {feed: f"{PREFIX}{feed}/2026-01-02/main/20260102T030405Z-{'0f' * 16}{SUFFIX}" for feed in FEEDS}
KEY = re.compile(rf"{PREFIX}(\w+)/\d{{4}}-\d\d-\d\d/[A-Za-z0-9_.-]+/\d{{8}}T\d{{6}}Z-[0-9a-f]+{re.escape(SUFFIX)}")

FILES = sorted(
    [path for path in (ROOT / "infra/siem").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    + [ROOT / "template.yaml", ROOT / "infra/athena.yaml", *(ROOT / "docs").glob("siem*.md")]
)

FEED = r"sign[-_]?ins?[-_]?attempts?|items?[-_]?usages?|audit[-_]?events?"
# What names a key: a prefix of the lake, a feed as a folder, or a suffix of what is compressed.
NAMES_KEY = re.compile(rf"onepassword/v\d|KeyPrefix\}}|(?<![\w-])({FEED})\\?/|\\?\.(gz|zst|jsonl|ndjson)(?![\w])")
# What stands for something else: ${Name}, <name>, $name, NAME.
PLACEHOLDER = re.compile(r"\$\{!?\w+\}|<[^<>/]+>|\$\w+|\b[A-Z][A-Z_]{2,}\b")
# What stands before a key: a bucket, or the name of a setting. The quarantine
# has the same keys, in a folder that is its own.
BEFORE = re.compile(r"^(\w+=|source::)?(s3://[^/]+/|arn:[^/]*:s3:::[^/]+/|\$\{\w+\.Arn\}/)?(quarantine/)?")


def words(line: str) -> list[str]:
    found = re.split(r"[\s\"'`,]+", line)
    return [word if "\\" in word else word.lstrip("([{").rstrip(".,;:)]}") for word in found]


def is_elsewhere(word: str, path: Path) -> bool:
    """Whether a word is an address, or a file of this repository or of a package."""
    bare = word.split("#")[0]
    if re.search(r"https?://", word) or re.search(r"\.(tar\.gz|spl|tgz)$", word) or "/api/v" in word:
        return True
    return any((folder / bare).exists() for folder in (path.parent, ROOT, ROOT / "infra/siem"))


def readings(word: str):
    """The regular expressions that a word may stand for: as a part of a key, a pattern with "*", or as it is."""
    word = re.sub(r"\$\{!?KeyPrefix\}|<prefix>|<KeyPrefix>", PREFIX, word)
    word = BEFORE.sub("", word)
    parts = PLACEHOLDER.split(word)
    literal = "[^/]*".join(map(re.escape, parts))
    yield f"{literal}$" if word.startswith(".") else f"(^|/){literal.lstrip('/')}"
    if "*" in word:
        glob = "[^/]*".join(fnmatch.translate(part)[4:-3] for part in parts)
        yield f"(^|/){glob.lstrip('/')}$"
    if "\\" in word:
        word = re.sub(r"^/(.*)/$", r"\1", word.replace("\\\\", "\\"))
        yield "[^/]*".join(PLACEHOLDER.split(word))


def matched(word: str) -> list[set[str]]:
    found = []
    for reading in readings(word):
        try:
            found.append({feed for feed, key in KEYS.items() if re.search(reading, key)})
        except re.error:
            pass
    return found


def faults(path: Path, text: str) -> list[str]:
    found = []
    name = path.relative_to(ROOT)
    for number, line in enumerate(text.splitlines(), 1):
        for word in words(line):
            if not NAMES_KEY.search(word) or is_elsewhere(word, path):
                continue
            named = {feed for feed in FEEDS if feed in word} or set(FEEDS)
            if named not in matched(word):
                found.append(f"{name}:{number}: {word} names keys, but not those of {', '.join(sorted(named))}")
        for listed in re.findall(r"--feeds[ =]([\w,-]+)", line):
            if wrong := set(listed.split(",")) - set(FEEDS):
                found.append(f"{name}:{number}: there is no feed {', '.join(sorted(wrong))}")
    return found


def test_the_keys_of_the_lake_are_as_documented():
    assert FEEDS == ["signin_attempts", "item_usages", "audit_events"]
    assert (PREFIX, SUFFIX) == ("onepassword/v1/", ".json.gz")
    for feed, key in KEYS.items():
        assert KEY.fullmatch(key)[1] == feed


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_names_the_keys_of_the_lake(path):
    found = faults(path, path.read_text())
    assert not found, "\n" + "\n".join(found)


GOOD = [
    "prefix: onepassword/v1/audit_events/",
    "regex: '/audit_events/.*\\.json\\.gz$'",
    "regex: ^onepassword/v1/(signin_attempts|audit_events)/.*\\.json\\.gz",
    '"regex": "/FEED/\\\\d{4}-\\\\d{2}-\\\\d{2}/[^/]+/[^/]+\\\\.json\\\\.gz$"',
    "filename filter `/.*\\.json\\.gz$/`",
    "_sourceName=*/audit_events/*",
    "!Sub '${ArchiveBucket.Arn}/quarantine/${KeyPrefix}*'",
    "path: onepassword/v1/*",
    "key: onepassword/v1/item_usages/*.json.gz",
    "s3://BUCKET/onepassword/v1/item_usages/",
    "!Sub '${KeyPrefix}signin_attempts/'",
    "!Sub 'arn:${AWS::Partition}:s3:::${BucketName}/${KeyPrefix}item_usages/*'",
    "`<prefix><feed>/<day>/<account>/<file>.json.gz`",
    "by the suffix `.gz`",
    "`onepassword/v1/audit_events/2026-01-02/main/20260102T030405Z-0f0f.json.gz`".replace("0f0f", "0f" * 16),
    "https://github.com/1Password/events-api-generic/blob/main/signinattempts/",
    "dist/TA-onepassword-s3.tar.gz",
    "oplake replay --feeds signin_attempts,item_usages",
    "[source::s3://*/audit_events/*]",
]
BAD = [
    "prefix: onepassword/v2/audit_events/",
    "prefix: onepassword/v1/auditevents/",
    "prefix: onepassword/v1/audit-events/",
    "prefix: onepassword/v1/audit_event/",
    "regex: '/audit_events/.*\\.ndjson\\.gz$'",
    "suffix: .jsonl.gz",
    "suffix: .json.zst",
    "key: onepassword/v1/item_usages/day=*/*.json.gz",
    "!Sub '${KeyPrefix}signin-attempts/'",
    "s3://BUCKET/onepassword/v1/main/item_usages/",
    "`onepassword/v1/audit_events/2026/01/02/*`",
    "oplake replay --feeds signinattempts",
    "[source::s3://*/signinattempts/*]",
]


@pytest.mark.parametrize("line", GOOD)
def test_what_names_the_keys_is_accepted(line):
    assert faults(ROOT / "infra/siem/README.md", line) == []


@pytest.mark.parametrize("line", BAD)
def test_what_names_other_keys_is_found(line):
    (fault,) = faults(ROOT / "infra/siem/README.md", line)
    assert fault.startswith("infra/siem/README.md:1: ")
