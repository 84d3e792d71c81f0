"""From scores to a selection: budgets, who may be chosen, quality, mixtures, near duplicates, contamination."""

from nagindex.select.budget import Budget, IdsOf, exact_cut, shares_of

__all__ = ["Budget", "IdsOf", "exact_cut", "shares_of"]
