"""Templates make texts of records in any format; a name that a record lacks is an error, a blank text a reported skip."""

import gzip
import json
import subprocess
import sys

import pytest

from nagindex.errors import BadInputError
from nagindex.targets.templates import DraftExample, draw, fill_template

RECORDS = [
    {"id": "a", "question": "Which sings?", "choices": {"text": ["violin", "kettle"]}, "answer": 0},
    {"id": "b", "question": "Which boils?", "choices": {"text": ["violin", "kettle"]}, "answer": 1},
]


@pytest.fixture
def write(tmp_path):
    """Return f(name, records or text): the path of a file."""

    def made(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str):
            content = "".join(json.dumps(record) + "\n" for record in content)
        path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
        return path

    return made


def filled(path, template, **options):
    [made] = fill_template(path, template, **options)
    return made


def texts(path, template, **options):
    return [text for _, text in filled(path, template, **options).examples]


def parquet(path, sql):
    import duckdb

    duckdb.sql(f"COPY ({sql}) TO '{path}' (FORMAT parquet)")
    return path


NESTED = "{{ question }} {{ choices.text[answer] }}{% if choices.text|length == 2 %}!{% endif %}"


@pytest.mark.parametrize("name", ["x.jsonl", "x.ndjson.gz", "x.json", "x.parquet"])
def test_nested_fields_are_used_as_in_jinja(write, tmp_path, name):
    source = write("source.jsonl", RECORDS)
    if name == "x.parquet":
        path = parquet(tmp_path / name, f"FROM '{source}'")
    else:
        path = write(name, json.dumps(RECORDS) if name == "x.json" else RECORDS)
    assert filled(path, NESTED).examples == [("a", "Which sings? violin!"), ("b", "Which boils? kettle!")]


@pytest.mark.parametrize(("name", "comma"), [("x.csv", ","), ("x.tsv", "\t"), ("x.csv.gz", ",")])
def test_columns_of_tables_are_texts_and_an_empty_one_is_an_empty_text(write, name, comma):
    path = write(name, f"q{comma}a\nriver{comma}\ngarden{comma}violin\n")
    assert texts(path, "{{ q }}{{ a.upper() }}") == ["river", "gardenVIOLIN"]


def test_a_plain_text_is_one_record(write):
    assert filled(write("x.txt", "a river"), "Read {{ text }}.").examples == [("x.txt:0", "Read a river.")]


def test_null_is_nothing_and_markup_stays_as_it_is(write):
    path = write("x.jsonl", [{"q": "<b> & 'c'", "a": None}])
    assert texts(path, "{{ q }}[{{ a }}]") == ["<b> & 'c'[]"]


def test_a_field_comes_before_a_method_of_the_same_name(write):
    path = write("x.jsonl", [{"answers": {"values": ["river"], "items": 3}}])
    assert texts(path, "{{ answers.values[0] }} {{ answers.items }}") == ["river 3"]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_a_name_that_is_no_column_names_file_row_name_and_columns(write, tmp_path, name):
    path = tmp_path / name
    if name == "x.parquet":
        parquet(path, "SELECT 'river' AS question, 'yes' AS answer")
    else:
        write(name, "question,answer\nriver,yes\n" if name == "x.csv" else [{"question": "river", "answer": "yes"}])
    with pytest.raises(BadInputError) as error:
        texts(path, "{{ qestion }}")
    reason = "the template cannot be filled in: 'qestion' is undefined; the record's columns are question, answer"
    assert str(error.value) == f"{path}, row 0: {reason}"


def test_a_name_that_only_some_records_have_is_an_error_unless_the_template_asks(write):
    path = write("x.jsonl", [{"q": "river", "hint": "wet"}, {"q": "garden"}])
    with pytest.raises(BadInputError, match=r"row 1: .*'hint' is undefined; the record's columns are q$"):
        texts(path, "{{ q }} {{ hint }}")
    assert texts(path, "{{ q }}{% if hint is defined %} {{ hint }}{% endif %}") == ["river wet", "garden"]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ choices.txet[0] }}", "has no attribute 'txet'"),
        ("{{ choices.text[7] }}", "has no element 7"),
        ("{{ question + 1 }}", "TypeError: can only concatenate str"),
        ("{{ answer // 0 }}", "ZeroDivisionError: "),
        ("{% include question %}", "no loader for this environment"),
    ],
)
def test_whatever_fails_in_a_template_is_one_line_that_names_the_row(write, template, reason):
    path = write("x.jsonl", RECORDS)
    with pytest.raises(BadInputError) as error:
        texts(path, template)
    assert str(error.value).startswith(f"{path}, row 0: the template cannot be filled in: ")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["''", "question", "choices"])
def test_the_sandbox_refuses_what_leads_out_of_it(write, name):
    path = write("x.jsonl", RECORDS)
    with pytest.raises(BadInputError, match=r"access to attribute '__class__' of '\w+' object is unsafe"):
        texts(path, f"{{{{ question }}}} {{{{ {name}.__class__.__mro__ }}}}")


def test_a_template_with_a_mistake_is_named_with_its_line(write):
    path = write("x.jsonl", RECORDS)
    with pytest.raises(
        BadInputError, match=r"^prompt\.jinja, line 2: unexpected end of template.*; mend the template$"
    ):
        texts(path, "{{ question }}\n{% if answer", template_name="prompt.jinja")
    with pytest.raises(BadInputError, match=r"^template, line 1: No filter named 'shout'"):
        texts(path, "{{ question|shout }}")


@pytest.mark.parametrize("template", ["{question} {answer}", "", "{# question #}"])
def test_a_template_that_names_no_column_is_refused(write, template):
    with pytest.raises(BadInputError, match=r"^template: names no column, .* name one as {{column}}$"):
        texts(write("x.jsonl", RECORDS), template)


def test_rows_without_a_text_are_skipped_and_listed(write):
    path = write("x.jsonl", [{"q": "river"}, {"q": " \n"}, {"q": None}, {"q": "\ud800"}, {"q": "garden"}])
    made = filled(path, "{{ q }}")
    assert made.examples == [("x.jsonl:0", "river"), ("x.jsonl:4", "garden")]
    assert made.skipped == [
        f"{path}, row 1: blank text",
        f"{path}, row 2: blank text",
        f"{path}, row 3: invalid UTF-8",
    ]


@pytest.mark.parametrize("content", ["", "\n", '{"q": ""}\n'])
def test_a_file_without_an_example_is_an_error_that_names_it(write, content):
    path = write("x.jsonl", content)
    with pytest.raises(BadInputError) as error:
        texts(path, "{{ q }}")
    reason = f"1 skipped, the first: {path}, row 0: blank text" if "q" in content else "nothing is in it"
    assert str(error.value) == f"{path}: holds no example ({reason}); give at least one text"


def test_ids_come_from_the_usual_columns_or_the_one_named_or_the_place(write, tmp_path):
    path = write("x.jsonl", '{"docid": 7, "n": 1e3, "q": "a"}\n{"docid": null, "n": "", "q": "b"}\n')
    assert [i for i, _ in filled(path, "{{ q }}").examples] == ["7", "x.jsonl:1"]
    assert [i for i, _ in filled(path, "{{ q }}", id_column="n").examples] == ["1e3", "x.jsonl:1"]
    with pytest.raises(
        BadInputError, match=r"x\.jsonl: no column 'name' \(`id_column`\); available columns are docid, n, q"
    ):
        filled(path, "{{ q }}", id_column="name")
    with pytest.raises(BadInputError, match=r"row 0: the id is \[1\], not a text or a whole number; .*`id_column`"):
        filled(write("y.jsonl", [{"id": [1], "q": "a"}]), "{{ q }}")
    dated = parquet(tmp_path / "x.parquet", "SELECT DATE '2026-01-02' AS id, 'a' AS q, 'unread' AS other")
    assert filled(dated, "{{ q }}").examples == [("2026-01-02", "a")]


def test_each_file_is_a_set_of_its_name_and_one_name_makes_one_set(write, tmp_path):
    write("sets/a.jsonl.gz", [{"q": "river"}])
    write("sets/sub/b.csv", "q\ngarden\n")
    write("sets/notes.md", "x")
    first, second = fill_template(tmp_path / "sets", "{{ q }}")
    assert (first.name, first.examples) == ("a", [("a.jsonl.gz:0", "river")])
    assert (second.name, second.examples) == ("sub/b", [("sub/b.csv:0", "garden")])
    assert first.skipped == [f"{tmp_path / 'sets' / 'notes.md'}: a file of another kind"]
    assert texts(tmp_path / "sets", "{{ q }}", name="mine") == ["river", "garden"]


def test_a_damaged_parquet_file_is_named(write):
    path = write("x.parquet", "not parquet")
    with pytest.raises(BadInputError, match=r"x\.parquet: cannot be read as Parquet"):
        filled(path, "{{ q }}")


def drawn(rows, **options):
    made = draw(
        "s",
        rows,
        lambda row: DraftExample(f"row {row}", str(row), f"text {row}" if row % 5 else ""),
        where="r",
        **options,
    )
    return [int(identifier) for identifier, _ in made.examples], made.skipped


def test_a_drawing_is_a_stable_choice_in_the_rows_order():
    """The numbers are pinned: a target set drawn today is the same with every later Python and nagindex."""
    assert drawn(range(1, 100), limit=6, seed=0)[0] == [16, 37, 47, 77, 86, 88]
    assert drawn(range(1, 100), limit=6, seed=1)[0] == [31, 39, 57, 72, 73, 91]


def test_a_larger_drawing_holds_the_smaller_and_all_rows_come_where_there_are_no_more():
    small, large = (set(drawn(range(1, 400), limit=limit, seed=3)[0]) for limit in (20, 100))
    assert small < large
    assert len(large) == 100
    everything = [row for row in range(1, 400) if row % 5]
    assert drawn(range(1, 400), limit=None, seed=3)[0] == everything
    assert drawn(range(1, 400), limit=320, seed=3)[0] == everything


def test_a_drawing_is_even():
    """Each of 40 rows is drawn in a quarter of the seeds; five standard deviations are 43 of 400."""
    counts = dict.fromkeys((row for row in range(1, 51) if row % 5), 0)
    for seed in range(400):
        for row in drawn(range(1, 51), limit=10, seed=seed)[0]:
            counts[row] += 1
    assert all(abs(count - 100) < 43 for count in counts.values())


def test_rows_that_are_no_examples_give_way_to_others():
    rows, skipped = drawn(range(40), limit=32, seed=0)
    assert len(rows) == 32
    assert skipped == [f"row {row}: blank text" for row in range(0, 40, 5)]


@pytest.mark.parametrize(
    "arguments", ["'targets', '--help'", "'targets', 'lm-eval', '--help'", "'targets', 'template', '--help'"]
)
def test_help_loads_nothing_heavy(arguments):
    heavy = ("lm_eval", "datasets", "jinja2", "duckdb", "torch", "numpy")
    program = (
        f"import sys; sys.argv = ['nagindex', {arguments}]; from nagindex.cli import main; main(standalone_mode=False)\n"
        f"print('loaded:', *[m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1].strip() == "loaded:"
