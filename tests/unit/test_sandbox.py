"""What a stranger's SQL, column names, templates and indexes may do: read documents and nothing else; and no code here runs theirs."""

import ast
import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import nagindex
from nagindex.backbone import describe as structure
from nagindex.backbone import locate as models
from nagindex.backbone.load import load_backbone
from nagindex.backbone.options import ModelOptions
from nagindex.errors import BadInputError, NagIndexError
from nagindex.select.signals import Quality
from nagindex.storage.docs import open_docs, run_select
from nagindex.targets.templates import fill_template

PACKAGE = Path(nagindex.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "cli").rglob("*.py")])
LOADERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {("os", "system"), ("os", "popen"), ("torch", "load"), ("yaml", "load"), ("yaml", "unsafe_load")}
CODES = np.array([[[0, 1]], [[1, 2]], [[1, 3]], [[3, 0]]], np.uint16)
KEPT = ('a"b', "'; DROP VIEW docs; --", '"; DROP TABLE x; --', "größe", "x) OR (1=1", "[y]", "quality")


def _dangers(tree):
    """Yield what a module does that could run what a file says."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {alias.name}" for alias in node.names if alias.name.split(".")[0] in LOADERS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LOADERS:
            yield f"from {node.module} import"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            yield f"{node.func.id}()"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in FORBIDDEN_ATTRIBUTES:
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell", "trust_remote_code"):
            yield from [f"{node.arg}=True"] * (isinstance(node.value, ast.Constant) and node.value.value is True)


def _loads_without_a_word(tree):
    """Yield calls of np.load and np.save that leave allow_pickle to NumPy's default."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    for call in calls:
        stated = any(keyword.arg == "allow_pickle" for keyword in call.keywords)
        if ast.unparse(call.func) in ("np.load", "np.save", "numpy.load", "numpy.save") and not stated:
            yield ast.unparse(call)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_unpickles_evaluates_or_starts_a_shell(path):
    tree = ast.parse(path.read_text())
    found = [*_dangers(tree), *_loads_without_a_word(tree)]
    # Workers are processes of nagindex's own, to which it sends its own objects through a pipe of its own.
    allowed = (
        {"import pickle"} if path in (PACKAGE / "workers" / "parent.py", PACKAGE / "workers" / "child.py") else set()
    )
    assert set(found) <= allowed


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from dill import x", "eval('1')", "os.system('x')", "f(shell=True)", "torch.load('x')"),
        *("np.load('x', allow_pickle=True)", "g(trust_remote_code=True)", "np.load('x')"),
    ],
)
def test_the_search_for_dangers_finds_them(source):
    tree = ast.parse(source)
    assert [*_dangers(tree), *_loads_without_a_word(tree)]


@pytest.mark.parametrize(
    "function",
    [
        *(nagindex.BuildOptions, ModelOptions, load_backbone),
        *(structure.describe_model, models.locate),
    ],
    ids=lambda function: function.__qualname__,
)
def test_code_that_comes_with_a_model_never_runs_unless_asked_for(function):
    default = inspect.signature(function).parameters["trust_remote_code"].default
    assert default is False or default is inspect.Parameter.empty


@pytest.fixture(scope="module")
def stranger(tmp_path_factory, write_index):
    """An index with kept columns of every strange name, beside a file that nobody may read."""
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "secret.csv").write_text("a,b\n1,2\n")
    kept = [tuple(range(i, i + len(KEPT))) for i in range(4)]
    return write_index(folder / "i", CODES, list("abcd"), [1] * 4, width=4, keep=KEPT, kept=kept)


def state(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def untouched(stranger, tmp_path, monkeypatch):
    """A copy of the index; afterwards it, and the folder that it lies in, must be as they were."""
    folder = tmp_path / "sandbox"
    shutil.copytree(stranger.path.parent, folder)
    monkeypatch.chdir(folder)
    before = state(folder)
    yield nagindex.open(folder / "i")
    assert state(folder) == before


SECRET = "{folder}/secret.csv"
SOURCES = [
    *(
        f"{reader}('{SECRET}')"
        for reader in ("read_csv", "read_text", "read_blob", "read_json", "read_parquet", "glob")
    ),
    *(f"{reader}('{SECRET}')" for reader in ("sniff_csv", "parquet_metadata", "parquet_schema", "parquet_kv_metadata")),
    f"'{SECRET}'",
    "'secret.csv'",
    "read_text('/etc/passwd')",
    "read_csv('/etc/passwd')",
    "'/etc/passwd'",
    "glob('/*')",
    "glob('*')",
    "read_csv('/dev/stdin')",
    "read_text('{index}/segments/../../secret.csv')",
    "read_text('{index}/segments/*/../../../secret.csv')",
    "read_text('{index}/manifests/*')",
    "glob('{index}/segments/../*')",
    "read_text('s3://bucket/key')",
    "'http://127.0.0.1:1/x.csv'",
    "duckdb_secrets()",
    "duckdb_extensions()",
    "enable_logging()",
    "a_frame",
    "an_arrow_table",
    "query_table('a_frame')",
    "query('FROM a_frame')",
    "query('FROM read_text(''{folder}/secret.csv'')')",
    "query('COPY docs TO ''stolen.csv''')",
    "python_map_function(1)",
    "pandas_scan(1)",
    "sqlite_scan('x.db', 't')",
    "(WITH x AS (COPY (SELECT 1) TO '{index}/segments/x.csv') SELECT * FROM x)",
    "(COPY docs TO 'stolen.csv')",
    "(SELECT getenv('HOME'))",
    "(SELECT set_config('threads', '1'))",
]


@pytest.mark.parametrize("source", SOURCES)
def test_no_source_but_docs_can_be_read_by_a_condition_or_a_statement(untouched, source):
    """No file, no setting's change, no variable of the program around it, through none of the four ways in."""
    import duckdb

    a_frame = {"a": np.arange(3)}
    an_arrow_table = duckdb.sql("SELECT 42 AS a").fetchnumpy()
    assert len(a_frame) == len(an_arrow_table) == 1
    source = source.format(folder=untouched.path.parent, index=untouched.path)
    condition = f"EXISTS (SELECT 1 FROM {source})"
    connection = open_docs(untouched.snapshot)
    for ask in (
        lambda: untouched.query(CODES, n=2, where=condition, cache=False),
        lambda: untouched.delete(where=condition),
        lambda: untouched.sql(f"SELECT * FROM {source}").fetchall(),
        lambda: run_select(connection, f"SELECT ({condition})").fetchall(),
    ):
        with pytest.raises(BadInputError) as caught:
            ask()
        assert "\n" not in str(caught.value)


STATEMENTS = [
    *("SET threads = 1", "SET VARIABLE a = 1", "RESET threads", "PRAGMA database_list", "PRAGMA threads = 1"),
    *("CALL pragma_version()", "INSTALL httpfs", "LOAD httpfs", "ATTACH 'x.db'", "ATTACH ':memory:' AS m"),
    *("DETACH memory", "USE memory", "EXPORT DATABASE 'x'", "IMPORT DATABASE 'x'", "CREATE TABLE t (a INT)"),
    *("CREATE MACRO f() AS 1", "CREATE SECRET (TYPE s3)", "INSERT INTO _deleted VALUES (0, 1)", "DROP VIEW docs"),
    *("UPDATE _deleted SET position = 1", "DELETE FROM _deleted", "TRUNCATE _deleted", "VACUUM", "CHECKPOINT", "BEGIN"),
    *("COMMIT", "COPY docs TO 'x.csv'", "COPY docs FROM 'secret.csv'", "PREPARE p AS SELECT 1", "EXECUTE p"),
    *("SELECT 1; SELECT 2", "ALTER VIEW docs RENAME TO x", "COMMENT ON VIEW docs IS 'x'", "SELECT 1 INTO x", ""),
    *("SELECT * FROM docs WHERE id = ?", "SELECT * FROM docs WHERE id = $1", "SELECT '\0", "FROM", ";", "\0", "--"),
]
WRITES = [
    "UPDATE EXTENSIONS",
    "SELECT '\ud800'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{index}/segments/x.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{nags}' (FORMAT csv)",
    "WITH x AS (COPY (SELECT 1) TO '{index}/segments/x.csv') SELECT * FROM x",
    "EXPLAIN ANALYZE INSERT INTO _deleted VALUES (0, 1)",
    "WITH x AS (INSERT INTO _deleted VALUES (0, 1) RETURNING *) SELECT * FROM x",
]


@pytest.mark.parametrize("statement", [*STATEMENTS, *WRITES])
def test_no_statement_changes_a_setting_a_table_or_a_file(untouched, statement):
    statement = statement.format(index=untouched.path, nags=untouched.segments[0].folder / "nags.npy")
    with pytest.raises(BadInputError) as caught:
        untouched.sql(statement).fetchall()
    assert "\n" not in str(caught.value)


CONDITIONS = [
    *("true); DROP VIEW docs; --", "true; SELECT 1", "false) UNION SELECT 0, 1, 5 FROM docs WHERE (true", "true /*"),
    *("", " ", "--", "\0", "\ud800", "id = ?", "1 = 1) OR (1 = 1", "COPY", "*", "docs.*", "count(*) > 0", "SELECT 1"),
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_is_one_expression_or_a_clear_refusal(untouched, condition):
    for ask in (
        lambda: untouched.query(CODES, n=2, where=condition, cache=False),
        lambda: untouched.delete(where=condition),
    ):
        with pytest.raises(BadInputError) as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_columns_of_every_name_are_names_and_never_sql(untouched):
    """They are listed, selected and used as quality by their names, whatever stands in these."""
    for place, name in enumerate(KEPT):
        quoted = name.replace('"', '""')
        assert untouched.sql(f"SELECT \"{quoted}\" FROM docs WHERE id = 'c'").fetchall() == [(2 + place,)]
        assert len(untouched.query(CODES, n=2, quality=Quality(name), cache=False)) == 2
        assert untouched.query(CODES, n=1, where=f'"{quoted}" = {3 + place}', cache=False).ids.tolist() == ["d"]
    for name in ("nope", 'quality"', "quality; DROP VIEW docs", "tokens) FROM docs; --", "\0", "*"):
        with pytest.raises(BadInputError, match="no column"):
            untouched.query(CODES, n=2, quality=Quality(name), cache=False)


TEMPLATES = [
    *("{{ q.__class__ }}", "{{ q.__init__.__globals__ }}", "{{ ''.__class__.__mro__[1].__subclasses__() }} {{ q }}"),
    *("{{ q['__class__'] }}", "{{ q|attr('__class__') }}", "{{ (q|attr('for'~'mat')).__self__ }}", "{{ o.__dict__ }}"),
    *("{{ '{0.__class__.__init__}'.format(q) }}", "{{ '{a.__class__}'.format_map({'a': q}) }}", "{% include q %}"),
    *(
        "{% import 'os' as os %}{{ q }}",
        "{% extends q %}",
        "{{ self.__init__ }}{{ q }}",
        "{{ cycler.__init__ }}{{ q }}",
    ),
    *("{{ lipsum.__globals__['os'].popen('touch stolen').read() }}{{ q }}", "{{ joiner.__init__.__globals__ }}{{ q }}"),
    *("{{ namespace.__init__.__globals__ }}{{ q }}", "{{ o.items.__self__ }}", "{{ open('secret.csv').read() }}"),
    *("{{ q.__reduce_ex__(2) }}", "{{ import('os') }}{{ q }}", "{{ config }}", "{{ request }}", "{{ q.mro() }}"),
    *("{% for i in range(10000000) %}{{ q }}{% endfor %}", "{{ range(99999999999)|list }}{{ q }}"),
    *("{{ (1).__class__.__base__ }}{{ q }}", "{% macro m() %}{% endmacro %}{{ m.__globals__ }}{{ q }}"),
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_reaches_nothing_but_its_record(tmp_path, monkeypatch, template):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.csv").write_text("secret")
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"q": "a river", "o": {"k": "v"}}) + "\n")
    with pytest.raises(NagIndexError) as caught:
        fill_template(path, template)
    assert "\n" not in str(caught.value)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["secret.csv", "x.jsonl"]
