"""docs/cost.md holds what cost.py computes, from numbers that the template still has."""

import re

import cost


def test_the_document_holds_what_is_computed():
    _, between, _ = cost.parts(cost.DOCUMENT.read_text())
    assert between.strip() == cost.text(), "run tests/cost/cost.py --write"


def test_the_schedules_are_those_that_are_computed_with():
    schedules = re.findall(
        r"Type: AWS::Scheduler::Schedule\n.*?ScheduleExpression: (.+?)\n.*?Input: '(.+?)'",
        cost.TEMPLATE,
        re.DOTALL,
    )
    assert schedules == [
        ("!If [IsOff, rate(5 minutes), !Ref ScheduleExpression]", "{}"),
        ("rate(1 hour)", '{"resync":{"hours":6}}'),
        ("cron(41 2 * * ? *)", '{"resync":{"days":3}}'),
        ("cron(11 3 ? * SUN *)", '{"resync":{"days":14}}'),
        ("cron(11 4 1 * ? *)", '{"resync":{"days":120}}'),
    ]
    assert "Default: rate(5 minutes)" in cost.TEMPLATE


def test_every_price_has_its_page_and_is_used():
    used = {name for month in cost.MONTHS for _, _, name, _ in month.lines()}
    source = (cost.HERE / "cost.py").read_text()
    for name, price in cost.PRICES.items():
        assert price["page"].startswith("https://aws.amazon.com/"), name
        assert name in used or f'"{name}"' in source, name
