"""`nagindex info`, `verify`, `delete`, `compact`, `vacuum` and `sql`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

import nagindex
from nagindex.arguments import layer_ranges

from .messages import note, warn, with_flags, with_flags_in
from .options import index_option, json_option, plural, ray_option, size
from .tables import table, terminal_width


@click.command()
@index_option
@click.option("--skipped", is_flag=True, help="List the rows of the sources that became no document, and why.")
@click.option("--version", "version", type=click.IntRange(min=1), metavar="V", help="Look at an older version.")
@json_option
def info(index: str | Path, skipped: bool, version: int | None, as_json: bool) -> None:
    """Describe an index: its documents, size and encoding."""
    opened = nagindex.open(index, version=version)
    if skipped:
        rows = [vars(row) for row in opened.skipped()]
        if as_json:
            click.echo(json.dumps(list(map(with_flags_in, rows))))
        else:
            click.echo(
                table(
                    ["file", "row", "reason", "id"],
                    [[r["file"], str(r["row"]), with_flags(r["reason"]), r["id"]] for r in rows],
                    right=lambda c: c == 1,
                    width=terminal_width(),
                )
            )
        return
    found = opened.info()
    click.echo(json.dumps(with_flags_in(found)) if as_json else _described(found))
    for warning in found["warnings"] if not as_json else ():
        warn(warning)


def _described(found: dict[str, Any]) -> str:
    fingerprint, settings = found["fingerprint"], found["settings"]
    spec = fingerprint["spec"]
    widths = sorted(set(spec["widths"]))
    older = len(found["versions"]) - 1
    lines = {
        "index": found["path"],
        "version": f"{found['version']} ({found['operation']} {found['created']}), {plural(older, 'other version')} kept",
        "documents": f"{found['documents']:,}"
        + (f" ({plural(found['deleted'], 'deleted row')} still stored)" if found["deleted"] else ""),
        "tokens": f"{found['tokens']:,}",
        "skipped": f"{found['skipped']:,}" + (" (list them with --skipped)" if found["skipped"] else ""),
        "sources": f"{found['sources']:,}",
        "segments": f"{found['segments']:,}",
        "size": f"{size(found['bytes'])}, {found['bytes_per_document']:,} bytes a document",
        "graphs": _graphs(found["graphs"], found["documents"] + found["deleted"]),
        "backbone": f"{fingerprint['backbone']} (weights {fingerprint['weights'][:12]}, tokenizer {fingerprint['tokenizer'][:12]})",
        "neurons": f"{spec['neuron_type']}, {_layers(spec)} of {' or '.join(map(str, widths))}, top {spec['top_k']}",
        "impact": _impact(fingerprint, settings),
        **({"drift": _drift(found["drift"])} if "drift" in found else {}),
        "reads": f"the first {fingerprint['max_length']} tokens in {fingerprint['dtype']}, {fingerprint['attention']} attention",
        "libraries": ", ".join(f"{name} {version}" for name, version in fingerprint["libraries"].items()),
        "columns": ", ".join(
            f"{k.removesuffix('_column').removesuffix('_columns')} {v if isinstance(v, str) else ', '.join(v)}"
            for k, v in settings.items()
            if k.endswith(("column", "columns")) and v
        )
        or "found in each source",
    }
    return "\n".join(f"{name:<11} {value}" for name, value in lines.items())


def _layers(spec: dict[str, Any]) -> str:
    count = f"{len(spec['widths'])} layers"
    return count if "numbers" not in spec else f"{count} ({layer_ranges(spec['numbers'])})"


def _impact(fingerprint: dict[str, Any], settings: dict[str, Any]) -> str:
    if "calibration" not in fingerprint:
        return "absolute"
    drawn = settings["calibrate"]
    source = f"drawn from at most {plural(drawn, 'document')}" if drawn else "given"
    return f"relative (calibration {fingerprint['calibration'][:12]}, {source})"


def _drift(drift: dict[str, Any]) -> str:
    share = f"{drift['moved']:.1%} of the codes, {drift['by_chance']:.1%} by chance"
    return f"{share}: popular neurons in {plural(drift['appended'], 'document')} appended later against the first ones"


def _graphs(graphs: dict[str, Any] | None, stored: int) -> str:
    if graphs is None:
        return "none (nagindex optimize makes them, for --approx and neighbors)"
    if "damage" in graphs:
        return f"{with_flags(graphs['damage'])} (nagindex optimize makes new ones)"
    of = "all documents" if graphs["documents"] == stored else f"{graphs['documents']:,} of {stored:,} documents"
    return f"{of}, by directions that keep {graphs['variance_kept']:.1%} of the variance"


@click.command()
@index_option
@ray_option("Read on the nodes of a Ray cluster, all of which see the index")
@json_option
def verify(index: str | Path, ray: str | None, as_json: bool) -> None:
    """Check every byte and every code of an index."""
    opened = nagindex.open(index, check=False)
    manifest = opened.manifest
    found = [with_flags(str(error)) for error in opened.verify(ray=ray)]
    if as_json:
        click.echo(json.dumps({"index": str(index), "version": manifest.version, "damage": found}))
    else:
        for line in found:
            click.echo(line)
    if found:
        raise click.ClickException(f"{index}: {plural(len(found), 'problem')} found")
    held = f"{plural(manifest.documents, 'document')} in {plural(len(manifest.segments), 'segment')}"
    note(f"{index}: version {manifest.version} is whole, {held}")


@click.command()
@index_option
@click.option("--ids", "ids_file", type=click.File("rb"), metavar="FILE", help="Ids to delete, one a line; - is stdin.")
@click.option(
    "--where",
    metavar="SQL",
    help='Delete the documents that a condition on the view docs holds for, e.g. "quality < 0.2".',
)
def delete(index: str | Path, ids_file: Any, where: str | None) -> None:
    """Delete documents; their rows go at the next compact."""
    if (ids_file is None) == (where is None):
        raise click.UsageError("give --ids FILE or --where SQL")
    ids = None
    if ids_file is not None:
        try:
            ids = list(dict.fromkeys(line for line in ids_file.read().decode().split("\n") if line))
        except UnicodeDecodeError as error:
            raise nagindex.BadInputError(
                f"{getattr(ids_file, 'name', '-')}: not UTF-8 at byte {error.start}; ids are text, one a line"
            ) from None
    opened = nagindex.open(index)
    removed = opened.delete(ids=ids, where=where)
    if ids is not None and removed < len(ids):
        warn(f"{plural(len(ids) - removed, 'id')} of {len(ids):,} not in the index")
    note(
        f"Deleted {plural(removed, 'document')}; {plural(len(opened), 'document')} left, version {opened.manifest.version}"
    )


@click.command()
@index_option
@ray_option("Merge on the nodes of a Ray cluster, all of which see the index")
def compact(index: str | Path, ray: str | None) -> None:
    """Merge small segments; drop deleted rows for good.

    The order of documents stays.
    """
    opened = nagindex.open(index)
    before, version = len(opened.segments), opened.manifest.version
    opened.compact(ray=ray)
    if opened.manifest.version == version:
        apart = ", which are full, or differ in libraries or in the content of a source" if before > 1 else ""
        note(f"Nothing to compact: {plural(before, 'segment')} without deleted rows{apart}")
        return
    done = f"{plural(before, 'segment')} before, {len(opened.segments):,} now, version {opened.manifest.version}"
    note(f"{done}; nagindex vacuum frees the old ones' space")


@click.command()
@index_option
@click.option("--keep", type=click.IntRange(min=1), default=1, show_default=True, help="Newest versions to keep.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="Leave what was current or written within this time, for running readers and writers.",
)
def vacuum(index: str | Path, keep: int, grace: float) -> None:
    """Remove old versions and files that none names."""
    done = nagindex.open(index).vacuum(keep=keep, grace=60 * grace)
    removed = f"Removed {plural(done.versions, 'version')} and {plural(done.files, 'file')}, {size(done.bytes)}"
    young = [
        plural(count, noun) for count, noun in ((done.young_versions, "version"), (done.young_files, "file")) if count
    ]
    stay = "stay" if done.young_versions + done.young_files > 1 else "stays"
    left = f"; {' and '.join(young)} of the last {grace:g} minutes {stay}, and --grace 0 removes that" if young else ""
    note(removed + left)


@click.command()
@click.argument("statement")
@index_option
@json_option
def sql(statement: str, index: str | Path, as_json: bool) -> None:
    """Run a read-only SQL STATEMENT (DuckDB) over docs.

    The view docs has the columns id, file, row, tokens and the kept ones, and _segment and _position: a document's
    place in the codes.
    """
    opened = nagindex.open(index)
    result = opened.sql(statement)
    names = [column[0] for column in result.description or []]
    if any("TIME ZONE" in str(column[1]) for column in result.description or []):
        # DuckDB hands such times to Python through a package that is not there: they are written by DuckDB itself.
        result = opened.sql(f"SELECT COLUMNS(*)::VARCHAR FROM (\n{statement.strip().rstrip(';')}\n)")
    if as_json:
        while rows := result.fetchmany(1000):
            for row in rows:
                click.echo(json.dumps(dict(zip(names, row, strict=True)), default=str, ensure_ascii=False))
        return
    rows = result.fetchall()
    if not rows:
        note("0 rows found")
    sys.stdout.write(
        table(
            names,
            [["" if value is None else str(value) for value in row] for row in rows],
            right=lambda c: bool(rows) and isinstance(rows[0][c], (int, float)),
            width=terminal_width(),
        )
        + "\n"
    )
