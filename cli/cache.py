"""`nagindex cache`."""

from __future__ import annotations

import json
from datetime import datetime

import click

import nagindex

from .messages import note
from .options import json_option, plural, size
from .tables import table, terminal_width


@click.command()
@click.argument("action", type=click.Choice(["list", "clear"]), default="list", required=False)
@json_option
def cache(action: str, as_json: bool) -> None:
    """List or clear the local files of indexes in object stores.

    They lie in $NAGINDEX_CACHE, by default in the user's cache folder. $NAGINDEX_CACHE_SIZE, such as 200GB, bounds them: by default 50 GB,
    or a quarter of the disk if that is less. What running commands use is left.
    """
    found = nagindex.clear_cache() if action == "clear" else nagindex.cached_indexes()
    if as_json:
        click.echo(json.dumps({"indexes": [vars(own) | {"path": str(own.path)} for own in found]}))
        return
    if action == "list" and found:
        rows = [
            [own.url, size(own.bytes), f"{own.segments:,}", f"{datetime.fromtimestamp(own.used):%Y-%m-%d %H:%M}"]
            for own in found
        ]
        click.echo(
            table(["index", "size", "segments", "last used"], rows, right=lambda c: c in (1, 2), width=terminal_width())
        )
    total = f"{plural(len(found), 'index').replace('indexs', 'indexes')}, {size(sum(own.bytes for own in found))}"
    note(f"Removed {total}" if action == "clear" else f"{total} in the cache")
