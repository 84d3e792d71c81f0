"""`nagindex append --check`: stored documents encoded again, and what differs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from .messages import note
from .options import plural

if TYPE_CHECKING:
    from nagindex import Index, Reencoding

OF_APPENDING = (
    "part", "on_duplicate", "on_error", "workers", "accept_libraries", "text_column", "id_column", "token_column", "keep",
)  # fmt: skip


def print_recheck(index: Index, as_json: bool) -> None:
    """Encode stored documents again with the options of `append`, and print what differs; status 1 if anything does."""
    context = click.get_current_context()
    options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    for name in OF_APPENDING:
        option = options[name]
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--check appends nothing, and {option} is about appending; leave one of the two out"
            )
    given = context.params
    found = index.recheck(
        given["corpus"] or None,
        corpus_root=given["corpus_root"],
        model=given["model"],
        device=given["device"],
        trust_remote_code=given["trust_remote_code"],
    )
    if as_json:
        click.echo(json.dumps({"index": str(index.location)} | vars(found)))
    summary = _described(found)
    if found.differing:
        raise click.ClickException(
            f"{index.location}: {summary}; install the recorded versions, build another index, or append with --accept-libraries to mix"
        )
    note(f"{index.location}: {summary}")


def _described(found: Reencoding) -> str:
    recorded = ", ".join(f"{name} {' and '.join(versions)}" for name, versions in found.recorded.items())
    here = ", ".join(f"{name} {version}" for name, version in found.installed.items())
    libraries = f"(here {here}; recorded {recorded})"
    if not found.differing:
        return (
            f"{plural(found.documents, 'document')} encoded again, and all {found.codes:,} codes are equal {libraries}"
        )
    share = f"{found.differing_codes:,} of {found.codes:,} codes ({found.differing_codes / found.codes:.2%})"
    kinds = f"{found.differing_neurons:,} of them neurons that the layer's stored codes lack"
    return f"{found.differing:,} of {plural(found.documents, 'document')} differ, in {share}, {kinds} {libraries}"
