"""What nagindex must answer, in sets and dicts of Python integers, written from the definitions and sharing no code with it."""


def counts(targets):
    """Return for each layer how many of the targets' NAGs hold each neuron."""
    layers = [{} for _ in targets[0]]
    for nag in targets:
        for layer, neurons in enumerate(nag):
            for neuron in set(neurons):
                layers[layer][neuron] = layers[layer].get(neuron, 0) + 1
    return layers


def scores(pool, targets):
    """Return L * K * |D| times the similarity of each NAG of the pool, exactly."""
    held = counts(targets)
    return [sum(held[layer].get(neuron, 0) for layer, row in enumerate(nag) for neuron in row) for nag in pool]


def ranking(sums, ids, alive=None):
    """Return positions of the living documents, best first, equals by the text of their ids."""
    living = [i for i in range(len(ids)) if alive is None or alive[i]]
    return sorted(living, key=lambda i: (-sums[i], ids[i].encode()))


def select(sums, ids, *, n=None, tokens=None, budget=None, alive=None):
    """Return the positions that a budget keeps: n documents, or those whose running sum of tokens stays within `budget`."""
    order = ranking(sums, ids, alive)
    if n is not None:
        return order[:n]
    kept, used = [], 0
    for i in order:
        used += tokens[i]
        if used > budget:
            break
        kept.append(i)
    return kept or order[:1]


def dice(a, b):
    """Return the mean over layers of 2 |A & B| / (|A| + |B|)."""
    overlaps = [2 * len(set(x) & set(y)) / (len(set(x)) + len(set(y))) for x, y in zip(a, b, strict=True)]
    return sum(overlaps) / len(overlaps)


def top_k(impacts, k):
    """Return the k positions of largest value, largest first, ties to the lower position."""
    return sorted(range(len(impacts)), key=lambda i: (-impacts[i], i))[:k]
