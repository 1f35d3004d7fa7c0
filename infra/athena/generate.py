#!/usr/bin/env python3
"""Writes the generated part of infra/athena.yaml from the SQL beside this file.

    infra/athena/generate.py           write it
    infra/athena/generate.py --check   fail, with the difference, if it would change

A file of tables/ is a CREATE EXTERNAL TABLE in which <Name> stands for a
parameter of the stack. A file of views/ is a CREATE VIEW in which a comment
"type: meaning" precedes each column of the first SELECT. A file of queries/
begins with its name, a description, its window and what it opens, a comment
line each.
"""

import difflib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BEGIN = "  # Generated from infra/athena/ by generate.py: edit the SQL, not this.\n"
END = "  # End of the generated part.\n"

INPUT_FORMAT = "org.apache.hadoop.mapred.TextInputFormat"
OUTPUT_FORMAT = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
# The Hive type of a view's column, which Glue wants, by its type in the view.
HIVE_TYPES = {"varchar": "string", "bigint": "bigint", "double": "double", "timestamp(3)": "timestamp"}


class Malformed(Exception):
    """A file that is not of the form that this generator reads."""


@dataclass
class Column:
    name: str
    type: str
    comment: str = ""


@dataclass
class Table:
    name: str
    description: str
    columns: list[Column]
    partitions: list[Column]
    serde: str
    serde_properties: dict[str, str]
    location: str
    properties: dict[str, str]


@dataclass
class View:
    name: str
    description: str
    columns: list[Column]
    select: str


@dataclass
class Query:
    id: str
    name: str
    description: str
    window: str
    opens: str
    sql: str


def find(pattern: str, path: Path, text: str, what: str) -> re.Match:
    match = re.search(pattern, text, re.DOTALL | re.MULTILINE)
    if not match:
        raise Malformed(f"{path}: no {what}")
    return match


def read(path: Path) -> str:
    text = path.read_text()
    # CloudFormation replaces other characters in some places.
    if not text.isascii():
        raise Malformed(f"{path}: a character that is not ASCII")
    return text


def header(text: str) -> list[str]:
    lines = []
    for line in text.splitlines():
        if not line.startswith("-- "):
            break
        lines.append(line.removeprefix("-- "))
    return lines


def read_table(path: Path) -> Table:
    text = read(path)

    def columns(block: str) -> list[Column]:
        found = re.findall(r"^  `(\w+)` (\S+?)(?: COMMENT '([^']*)')?,?$", block, re.MULTILINE)
        if len(found) != len(block.strip().splitlines()):
            raise Malformed(f"{path}: a column that is not \"`name` type COMMENT 'text'\"")
        return [Column(*column) for column in found]

    def properties(keyword: str) -> dict[str, str]:
        block = re.search(rf"^{keyword} \((.*?)\);?$", text, re.DOTALL | re.MULTILINE)
        return dict(re.findall(r"'([^']+)' = '([^']*)'", block[1])) if block else {}

    created = find(r"^CREATE EXTERNAL TABLE (\w+) \(\n(.*?)\n\)\n", path, text, "CREATE EXTERNAL TABLE")
    partitioned = re.search(r"^PARTITIONED BY \(\n(.*?)\n\)\n", text, re.DOTALL | re.MULTILINE)
    find(r"^STORED AS TEXTFILE$", path, text, "STORED AS TEXTFILE")
    return Table(
        name=created[1],
        description=header(text)[0],
        columns=columns(created[2]),
        partitions=columns(partitioned[1]) if partitioned else [],
        serde=find(r"^ROW FORMAT SERDE '([^']+)'$", path, text, "ROW FORMAT SERDE")[1],
        serde_properties=properties("WITH SERDEPROPERTIES"),
        location=find(r"^LOCATION '([^']+)'", path, text, "LOCATION")[1],
        properties=properties("TBLPROPERTIES"),
    )


def read_view(path: Path) -> View:
    text = read(path)
    created = find(r"^CREATE OR REPLACE VIEW (\w+) AS\n(SELECT\n.*);\n\Z", path, text, "CREATE OR REPLACE VIEW")
    first = find(r"\ASELECT\n(.*?)\nFROM ", path, created[2], "SELECT")[1]
    columns = []
    for item in re.split(r"^  -- ", first, flags=re.MULTILINE)[1:]:
        described = find(r"\A([a-z()0-9]+): ([^\n]+)\n.*?(\w+),?\Z", path, item.rstrip(), f"type and name in: {item}")
        if described[1] not in HIVE_TYPES:
            raise Malformed(f"{path}: {described[3]} has a type that is not in HIVE_TYPES: {described[1]}")
        columns.append(Column(described[3], described[1], described[2]))
    return View(created[1], header(text)[0], columns, created[2])


def read_query(path: Path) -> Query:
    text = read(path)
    lines = header(text)
    if len(lines) != 4 or not lines[2].startswith("Window: ") or not lines[3].startswith("Opens: "):
        raise Malformed(f"{path}: must begin with comments: name, description, Window: and Opens:")
    name, description, window, opens = lines
    return Query(path.stem, name, description, window.removeprefix("Window: "), opens.removeprefix("Opens: "), text)


def read_all(folder: Path = HERE) -> tuple[list[Table], list[View], list[Query]]:
    """Everything that is defined in SQL below `folder`, sorted by file name."""

    def each(kind: str, reader):
        return [reader(path) for path in sorted((folder / kind).glob("*.sql"))]

    return each("tables", read_table), each("views", read_view), each("queries", read_query)


def resource_id(name: str, suffix: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"[-_]", name)) + suffix


def value(text: str) -> str:
    """A YAML value, in which <Name> has become a reference to a parameter."""
    sub = re.sub(r"<([A-Za-z]+)>", r"${\1}", text.replace("${", "${!"))
    if sub == text:
        return json.dumps(text)
    if "<RetentionDays>" in text:
        forever = text.replace("<RetentionDays>", "3650")
        return f"!If [KeepsForever, {json.dumps(forever)}, !Sub {json.dumps(sub)}]"
    return f"!Sub {json.dumps(sub)}"


def mapping(pairs: dict[str, str], indent: int) -> list[str]:
    return [f"{' ' * indent}{name}: {value(text)}" for name, text in pairs.items()]


def columns_yaml(columns: list[Column], indent: int) -> list[str]:
    lines = []
    for column in columns:
        comment = f", Comment: {json.dumps(column.comment)}" if column.comment else ""
        kind = HIVE_TYPES.get(column.type, column.type)
        lines.append(f"{' ' * indent}- {{ Name: {column.name}, Type: {json.dumps(kind)}{comment} }}")
    return lines


def glue_table(kind: str, name: str, description: str, table_type: str, body: list[str]) -> list[str]:
    return [
        f"  {resource_id(name, kind)}:",
        "    Type: AWS::Glue::Table",
        "    Properties:",
        "      CatalogId: !Ref AWS::AccountId",
        "      DatabaseName: !Ref Database",
        "      TableInput:",
        f"        Name: {name}",
        f"        Description: {json.dumps(description)}",
        f"        TableType: {table_type}",
        *body,
        "",
    ]


def table_yaml(table: Table) -> list[str]:
    body = ["        Parameters:", *mapping({"EXTERNAL": "TRUE"} | table.properties, 10)]
    if table.partitions:
        body += ["        PartitionKeys:", *columns_yaml(table.partitions, 10)]
    body += [
        "        StorageDescriptor:",
        f"          Location: {value(table.location)}",
        f"          InputFormat: {INPUT_FORMAT}",
        f"          OutputFormat: {OUTPUT_FORMAT}",
        "          SerdeInfo:",
        f"            SerializationLibrary: {table.serde}",
    ]
    if table.serde_properties:
        body += ["            Parameters:", *mapping(table.serde_properties, 14)]
    body += ["          Columns:", *columns_yaml(table.columns, 12)]
    return glue_table("Table", table.name, table.description, "EXTERNAL_TABLE", body)


def view_yaml(view: View) -> list[str]:
    definition = json.dumps(
        {
            "originalSql": view.select,
            "catalog": "awsdatacatalog",
            "schema": "<DatabaseName>",
            "columns": [{"name": column.name, "type": column.type} for column in view.columns],
        }
    )
    definition = definition.replace("${", "${!").replace("<DatabaseName>", "${DatabaseName}")
    body = [
        "        Parameters: { presto_view: 'true', comment: Presto View }",
        "        ViewExpandedText: /* Presto View */",
        "        ViewOriginalText: !Join",
        "          - ''",
        "          - - '/* Presto View: '",
        "            - Fn::Base64: !Sub |-",
        f"                {definition}",
        "            - ' */'",
        "        StorageDescriptor:",
        "          SerdeInfo: {}",
        "          Columns:",
        *columns_yaml(view.columns, 12),
    ]
    return glue_table("View", view.name, view.description, "VIRTUAL_VIEW", body)


def query_yaml(query: Query) -> list[str]:
    description = f"{query.description} Window: {query.window}. Opens: {query.opens}."
    return [
        f"  {resource_id(query.id, 'Query')}:",
        "    Type: AWS::Athena::NamedQuery",
        "    Properties:",
        "      Database: !Ref Database",
        "      WorkGroup: !Ref WorkGroup",
        f"      Name: {json.dumps(query.name)}",
        f"      Description: {json.dumps(description)}",
        "      QueryString: |",
        *(f"        {line}".rstrip() for line in query.sql.splitlines()),
        "",
    ]


def render(template: str, folder: Path = HERE) -> str:
    """`template` with its generated part made anew from the SQL below `folder`."""
    if template.count(BEGIN) != 1 or template.count(END) != 1:
        raise Malformed("athena.yaml: the lines that enclose the generated part are not there once each")
    tables, views, queries = read_all(folder)
    lines = [line for item in tables for line in table_yaml(item)]
    lines += [line for item in views for line in view_yaml(item)]
    lines += [line for item in queries for line in query_yaml(item)]
    before, rest = template.split(BEGIN)
    return before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1]


def main(arguments: list[str], folder: Path = HERE) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    path = folder.parent / "athena.yaml"
    present = path.read_text()
    try:
        wanted = render(present, folder)
    except Malformed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not arguments:
        path.write_text(wanted)
    elif present != wanted:
        sys.stderr.writelines(
            difflib.unified_diff(present.splitlines(True), wanted.splitlines(True), str(path), "as the SQL says")
        )
        print("error: infra/athena.yaml is not what its SQL says: run infra/athena/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
