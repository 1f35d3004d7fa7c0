"""The template: generated from the SQL, and the same as the SQL."""

import re
import shutil

import athena_sql
import generate
import pytest
import sqlfluff
from lake import definition
from template import ROOT, TEMPLATE, Stack

TABLES, VIEWS, QUERIES = generate.read_all()
FILES = sorted((ROOT / "infra/athena").glob("*/*.sql"))
# How DuckDB names the types of the views' columns.
TYPES = {"VARCHAR": "varchar", "BIGINT": "bigint", "DOUBLE": "double", "TIMESTAMP_MS": "timestamp(3)"}


@pytest.fixture
def copy(tmp_path):
    """A copy of infra/ that may be edited."""
    shutil.copytree(ROOT / "infra/athena", tmp_path / "athena", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TEMPLATE, tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_statement_parses_as_athena_sql(path):
    sqlfluff.parse(path.read_text(), dialect="athena")
    tree = athena_sql.parse(path.read_text())
    kind = {"tables": "TABLE", "views": "VIEW", "queries": None}[path.parent.name]
    assert tree.args.get("kind") == kind
    if kind:
        assert tree.find(athena_sql.exp.Table).name == path.stem


def test_the_template_is_what_the_sql_says():
    assert generate.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "shown"),
    [
        (
            "athena/queries/invitations.sql",
            "'29' DAY",
            "'28' DAY",
            "+          event_date BETWEEN date_format(current_date - INTERVAL '28' DAY",
        ),
        ("athena/views/activity.sql", "FROM item_usages", "FROM item_usages_lines", "item_usages_lines"),
        ("athena/tables/audit_events_lines.sql", "NOW+2DAYS", "NOW+3DAYS", "NOW+3DAYS"),
        ("athena.yaml", 'Name: line, Type: "string"', 'Name: row, Type: "string"', "-            - { Name: row"),
    ],
)
def test_an_edit_of_either_side_fails_the_check_with_the_difference(copy, capsys, file, old, new, shown):
    path = copy / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    before = (copy / "athena.yaml").read_text()
    assert generate.main(["--check"], copy / "athena") == 1
    said = capsys.readouterr().err
    assert shown in said and "run infra/athena/generate.py" in said
    assert (copy / "athena.yaml").read_text() == before, "a check writes nothing"
    assert generate.main([], copy / "athena") == 0
    assert generate.main(["--check"], copy / "athena") == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("queries/invitations.sql", "-- Window: ", "-- For: ", "must begin with comments"),
        ("queries/invitations.sql", "Who was", "Who \u2019 was", "not ASCII"),
        ("views/activity.sql", "-- varchar: City", "-- text: City", "not in HIVE_TYPES"),
        ("views/activity.sql", "-- varchar: City", "-- City", "no type and name"),
        ("tables/audit_events_typed.sql", "`action` string,", "action string,", "a column that is not"),
        ("tables/audit_events_typed.sql", "LOCATION", "PLACE", "no LOCATION"),
    ],
)
def test_a_file_of_another_form_is_refused_by_name(copy, capsys, file, old, new, said):
    path = copy / "athena" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    before = (copy / "athena.yaml").read_text()
    assert generate.main([], copy / "athena") == 1
    error = capsys.readouterr().err
    assert path.name in error and said in error
    assert (copy / "athena.yaml").read_text() == before


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_deployed_view_is_the_sql_with_the_columns_that_it_gives(view, stack, lake):
    deployed = stack.views()[view.name]
    defined = definition(deployed)
    text = (ROOT / f"infra/athena/views/{view.name}.sql").read_text()
    assert text.endswith(f"CREATE OR REPLACE VIEW {view.name} AS\n{defined['originalSql']};\n")
    assert (defined["catalog"], defined["schema"]) == ("awsdatacatalog", stack.parameters["DatabaseName"])
    given = [(name, TYPES[kind]) for name, kind in lake.columns(defined["originalSql"])]
    assert [(column["name"], column["type"]) for column in defined["columns"]] == given
    columns = [(column["Name"], column["Type"]) for column in deployed["StorageDescriptor"]["Columns"]]
    assert columns == [(name, generate.HIVE_TYPES[kind]) for name, kind in given]
    assert deployed["Parameters"] == {"presto_view": "true", "comment": "Presto View"}


def test_a_deployed_query_is_its_file(stack):
    assert stack.queries() == {query.name: query.sql for query in QUERIES}
    assert len(stack.queries()) == len(QUERIES), "two queries of one name"


@pytest.mark.parametrize("feed", ["signin_attempts", "item_usages", "audit_events"])
def test_a_typed_table_has_what_the_view_reads(feed):
    """`type` of a user is read besides `user_type`; it is of one sample only."""
    typed = next(table for table in TABLES if table.name == f"{feed}_typed")
    columns = {column.name: column.type for column in typed.columns}
    sql = (ROOT / f"infra/athena/views/{feed}.sql").read_text()
    paths = set(re.findall(r"'\$\.([a-z_.]+)'", sql)) - {"user.type", "target_user.type"}
    assert paths
    for path in paths:
        name, _, field = path.partition(".")
        assert name in columns and (not field or re.search(rf"[<,]{field}:", columns[name])), path


def test_a_database_name_reaches_every_view():
    other = Stack(DatabaseName="other_1")
    assert {definition(view)["schema"] for view in other.views().values()} == {"other_1"}


def test_the_documentation_says_what_the_sql_says():
    text = (ROOT / "docs/athena.md").read_text()

    def rows(title: str) -> list[str]:
        section = re.split(r"^#+ ", text.split(f"# {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
        return [line for line in section.splitlines() if line.startswith("| ")][1:]

    queries = [f"| {query.name} | {query.description} | {query.window} | {query.opens} |" for query in QUERIES]
    assert sorted(rows("Saved queries")) == sorted(queries)
    for view in VIEWS:
        columns = [f"| `{column.name}` | {column.type} | {column.comment} |" for column in view.columns]
        assert rows(f"`{view.name}`") == columns
