"""An index in an object store behaves as one in a folder does: same documents, same codes, same answers after every operation."""

import json

import numpy as np
import pytest
from cluster_tasks import run_here
from stores import BUCKET, SECRET

import nagindex
from nagindex import InputNotFoundError
from nagindex.errors import BadInputError, ObjectStoreError
from nagindex.maintenance import compact, verify
from nagindex.sketches import build

TARGETS = ["river mountain kettle", "violin planet proof garden"]


def content(index):
    """Return the NAG of each document, by id."""
    rows = index.docs.project("id, _segment, _position").fetchall()
    return {name: index.codes[segment][position].tobytes() for name, segment, position in rows}


def answer(index):
    """Return what a query answers, as bytes; everything of it but the record of where the index lies."""
    found = index.query(TARGETS, n=9, weights="log-ratio")
    return [found.ids.tolist(), found.scores.tobytes(), found.tokens.tobytes()]


@pytest.mark.parametrize(("scheme", "ray"), [("s3", None), ("s3", "local"), ("file", None)])
def test_every_operation_gives_what_it_gives_in_a_folder(
    scheme, ray, url, corpus, tmp_path, tiny_backbone, elsewhere, monkeypatch
):
    """Tasks of a cluster have a cache of their own, as another machine has."""
    run_here(monkeypatch, verify, compact, build, NAGINDEX_CACHE=str(tmp_path / "node"))
    first, second = corpus("a.jsonl", 0, 40), corpus("b.jsonl", 40, 70)
    places = [url if scheme == "s3" else f"file://{tmp_path}/stored.nagindex", tmp_path / "local.nagindex"]

    def on(index):
        return ray if index.location == places[0] else None

    steps = {
        "build": lambda index: None,
        "append": lambda index: index.append(second),
        "delete": lambda index: index.delete(ids=["d3", "d45", "d60"]),
        "delete where": lambda index: index.delete(where="id = 'd7'"),
        "optimize": lambda index: index.optimize(ray=on(index)),
        "compact": lambda index: index.compact(ray=on(index)),
        "vacuum": lambda index: index.vacuum(grace=0),
        "optimize again": lambda index: index.optimize(ray=on(index)),
    }
    indexes = [nagindex.build(first, place, backbone=tiny_backbone, preset="calibrated")[0] for place in places]
    assert indexes[0].location == places[0]
    assert "cache" in str(indexes[0].path)
    for name, step in steps.items():
        told = []
        for place, index in zip(places, indexes, strict=True):
            index._backbone = tiny_backbone
            step(index)
            if place == places[0]:
                elsewhere()  # what another machine sees
            opened = nagindex.open(place)
            opened._backbone = tiny_backbone
            info = opened.info()
            assert info["path"] == str(place)
            kept = {key: info[key] for key in ("documents", "versions", "deleted", "segments", "bytes", "graphs")}
            told.append([content(opened), answer(opened), kept, opened.verify(ray=on(opened)), len(opened.skipped())])
        assert told[0] == told[1], name
        assert told[0][3] == [], name


def test_every_question_is_answered_as_by_a_folder(url, corpus, tmp_path, tiny_backbone, elsewhere):
    source, answers = corpus("a.jsonl", 0, 40), list[object]()
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("d1\nd2\n" if name == "a" else "d2\nd7\nnone\n")
    for place in (url, tmp_path / "local.nagindex"):
        nagindex.build(source, place, backbone=tiny_backbone, preset="calibrated")
        elsewhere()
        index = nagindex.open(place)
        index._backbone = tiny_backbone
        answers.append(
            [
                [own.to_json(neurons=3, examples=2) for own in index.explain(["d1", "d30"], TARGETS)],
                index.compare(tmp_path / "a.txt", tmp_path / "b.txt").to_json(),
                index.texts(["d3", "d1"]),
                index.neighbors(["d3"], k=4).rows,
                index.evaluate(TARGETS, relevant_ids=tmp_path / "a.txt", resamples=10).to_json(),
                index.score_curve(TARGETS).to_json(),
            ]
        )
        built, _ = nagindex.build(
            source,
            tmp_path / f"of-{len(answers)}.nagindex",
            backbone=tiny_backbone,
            preset="calibrated",
            calibration=place,
        )
        assert built.manifest.fingerprint.calibration == index.manifest.fingerprint.calibration
    assert answers[0] == answers[1]


def test_a_build_that_is_run_again_adds_nothing_and_one_of_other_settings_is_refused(
    url, corpus, tiny_backbone, elsewhere
):
    source = corpus("a.jsonl", 0, 10)
    nagindex.build(source, url, backbone=tiny_backbone, preset="paper")
    elsewhere()
    index, report = nagindex.build(source, url, backbone=tiny_backbone, preset="paper")
    assert (report.documents, report.already_in, len(index)) == (0, 1, 10)
    with pytest.raises(nagindex.SettingsMismatchError, match=url):
        nagindex.build(source, url, backbone=tiny_backbone, preset="paper", top_k=3)


def test_an_older_version_is_opened_until_it_is_vacuumed(url, corpus, tiny_backbone):
    index, _ = nagindex.build(corpus("a.jsonl", 0, 10), url, backbone=tiny_backbone, preset="paper")
    index.delete(ids=["d1"])
    assert len(nagindex.open(url, version=2)) == 10
    index.vacuum(grace=0)
    with pytest.raises(InputNotFoundError, match="versions kept are 3"):
        nagindex.open(url, version=2)


def test_another_index_made_at_the_same_url_is_not_mixed_with_the_first(url, corpus, tiny_backbone):
    from nagindex.stores.objects import ObjectStore

    nagindex.build(corpus("a.jsonl", 0, 10), url, backbone=tiny_backbone, preset="paper")
    store = ObjectStore(url)
    store.delete([found.name for found in store.listing()])
    with pytest.raises(InputNotFoundError, match="no index here"):
        nagindex.open(url)
    index, _ = nagindex.build(corpus("b.jsonl", 50, 54), url, backbone=tiny_backbone, preset="paper")
    assert sorted(content(index)) == ["d50", "d51", "d52", "d53"]
    assert sorted(content(nagindex.open(url))) == ["d50", "d51", "d52", "d53"]


def test_a_prefix_that_holds_something_else_is_refused(url, corpus, tiny_backbone):
    from nagindex.stores.objects import ObjectStore

    ObjectStore(url).put("letters/one.txt", b"dear")
    with pytest.raises(BadInputError, match="exists and is not an index"):
        nagindex.build(corpus("a.jsonl", 0, 4), url, backbone=tiny_backbone, preset="paper")


def test_the_command_line_takes_urls(url, corpus, tmp_path, tiny_backbone):
    from click.testing import CliRunner
    from nagindex.cli import main

    nagindex.build(corpus("a.jsonl", 0, 10), url, backbone=tiny_backbone, preset="paper")

    def run(*arguments):
        done = CliRunner().invoke(main, list(map(str, arguments)), prog_name="nagindex")
        assert done.exit_code == 0, done.output
        return done

    assert json.loads(run("info", "-i", url, "--json").stdout)["path"] == url
    (tmp_path / "ids").write_text("d1\n")
    run("delete", "-i", url, "--ids", tmp_path / "ids")
    assert "9" in run("sql", "SELECT count(*) FROM docs", "-i", url).stdout
    run("verify", "-i", url)
    assert json.loads(run("cache", "--json").stdout)["indexes"][0]["url"] == url
    assert url in run("cache").stdout
    assert str(tmp_path) not in run("info", "-i", url).stdout


def test_no_credentials_are_written_anywhere(url, corpus, tmp_path, tiny_backbone, proxy, caplog):
    caplog.set_level("DEBUG")
    nagindex.build(corpus("a.jsonl", 0, 10), url, backbone=tiny_backbone, preset="paper")
    written = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    proxy.reset(lambda *_: "403")
    with pytest.raises(ObjectStoreError, match=r"refuses.*HTTP 403.*credentials in the environment") as raised:
        nagindex.open(url)
    assert SECRET not in str(raised.value) + caplog.text
    with pytest.raises(BadInputError, match="in the environment") as refused:
        nagindex.open(f"s3://kLidentity:{SECRET}@{BUCKET}/pool")
    assert SECRET not in str(refused.value)


def test_codes_come_from_the_store_as_they_were_written(url, corpus, tiny_backbone, elsewhere):
    index, _ = nagindex.build(corpus("a.jsonl", 0, 30), url, backbone=tiny_backbone, preset="paper")
    before = [codes.copy() for codes in index.codes]
    elsewhere()
    assert all(np.array_equal(a, b) for a, b in zip(before, nagindex.open(url).codes, strict=True))
