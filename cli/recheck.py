"""What `nagindex append --check` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from .options import plural

if TYPE_CHECKING:
    from nagindex.index import Index
    from nagindex.maintenance.reencode import Recheck

OF_APPENDING = ("shard", "on_duplicate", "workers", "accept_libraries")


def tell_recheck(index: Index, as_json: bool) -> None:
    """Encode stored documents again as the options of `append` say, and tell what differs; status 1 where something does."""
    from nagindex.ingest.run import visible_devices

    context = click.get_current_context()
    for name in OF_APPENDING:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(
                f"--check appends nothing, and {option} is about appending; leave one of the two out"
            )
    given = context.params
    found = index.recheck(
        given["corpus"] or None,
        corpus_root=given["corpus_root"],
        model=given["model"],
        device=visible_devices(given["device"])[0],
        trust_remote_code=given["trust_remote_code"],
    )
    if as_json:
        click.echo(json.dumps({"index": str(index.path)} | vars(found)))
    told = _told(found)
    if found.differing:
        raise click.ClickException(
            f"{index.path}: {told}; install the recorded versions, build another index, or append with --accept-libraries to mix"
        )
    click.echo(f"{index.path}: {told}", err=True)


def _told(found: Recheck) -> str:
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
