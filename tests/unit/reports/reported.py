"""What the tests of reports share: the shape and the texts of their index, and the figures of a selection's report."""

from nagindex.query.reports import report_of

LAYERS, K, WIDTH = 3, 4, 12
TEXTS = [f"text {n} of a document about the river and the {n} foxes that it has" for n in range(90)]


def figures(selection, **options):
    """Return the figures of a selection's report."""
    return report_of(selection._selected(), **options)
