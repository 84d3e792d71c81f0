"""What a query must answer, in sets, dicts and fractions, written from the documentation and sharing no code with nagindex."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache, partial

import oracle


def seen(nags, layers, top_k):
    """Return the chosen layers of NAGs, the first `top_k` neurons of each."""
    return [[nag[layer][:top_k] for layer in layers] for nag in nags]


def overlap(a, b):
    """Return how many (layer, neuron) two NAGs share."""
    return sum(len(set(x) & set(y)) for x, y in zip(a, b, strict=True))


def log_weight(kind, m, count, examples, held, documents):
    """Return a neuron's weight in units of 2^-24 nats, from the number of examples and of documents that hold it."""
    with localcontext(prec=60):
        p = (held + Decimal("0.5")) / (documents + 1)
        q = (count + m * p) / (examples + m)
        quotient = q / p if kind == "log-ratio" else q / (1 - q) / (p / (1 - p))
        return int((quotient.ln() * 2**24).to_integral_value())


def sums(pool, examples, *, nearest=None, weights="frequency", background=()):
    """Return integer scores of the pool and what they are divided by; `background`: the documents that weights compare with."""
    size = sum(len(row) for row in pool[0])
    if nearest is not None:
        best = min(nearest, len(examples))
        return [sum(sorted((overlap(nag, e) for e in examples), reverse=True)[:best]) for nag in pool], size * best
    kind, _, number = weights.partition(":")
    plain, among, count = oracle.scores(pool, examples), [pool[i] for i in background], len(examples)
    if kind == "frequency":
        return plain, size * count
    if kind == "contrast":
        own, theirs = Fraction(number).denominator * len(among), Fraction(number).numerator * count
        common = oracle.scores(pool, among)
        return [a * own - b * theirs for a, b in zip(plain, common, strict=True)], size * count * own
    inside, outside = oracle.counts(examples), oracle.counts(among)
    weight = cache(partial(log_weight, kind, Decimal(number or 40), examples=count, documents=len(among)))
    return [
        sum(
            weight(count=inside[layer].get(neuron, 0), held=outside[layer].get(neuron, 0))
            for layer, row in enumerate(nag)
            for neuron in row
        )
        for nag in pool
    ], size * 2**24


def standardized(values, candidates):
    """Return each value's distance from the candidates' mean in standard deviations, 0 where these are none."""
    count = len(candidates)
    total, squares = sum(values[i] for i in candidates), sum(values[i] ** 2 for i in candidates)
    deviation = math.sqrt(Fraction(count * squares - total * total, count * count))
    mean = float(Fraction(total, count))
    return [(v - mean) / deviation if deviation else 0.0 for v in values]


def normalized(values, candidates, how):
    """Return a dict from candidates to 0 for the least value up to 1 for the greatest."""
    own = {i: values[i] for i in candidates}
    low, high = min(own.values()), max(own.values())
    if how == "rank":
        ordered = sorted(own.values())
        last = max(len(ordered) - 1, 1)
        return {i: (ordered.index(v) + (ordered.count(v) - 1) / 2) / last for i, v in own.items()}
    return {i: (v - low) / (high - low) if high != low else 0.0 for i, v in own.items()}


def blended(keys, quality, candidates, *, how, weight, lower_is_better):
    """Return what to minimise: normalized distance plus weighted normalized lack of quality."""
    distance = normalized([-k for k in keys], candidates, how)
    good = normalized(quality, candidates, how)
    return {i: distance[i] + weight * (good[i] if lower_is_better else 1 - good[i]) for i in candidates}


def shares(amount, names, weights, *, documents):
    """Return each target's share of the budget."""
    rest = 1 - sum(weights.values(), Fraction(0))
    exact = [amount * weights.get(n, rest / max(1, len(names) - len(weights))) for n in names]
    found = [math.floor(e) for e in exact]
    if documents:
        order = sorted(range(len(names)), key=lambda i: (-(exact[i] - found[i]), i))
        for i in order[: amount - sum(found)]:
            found[i] += 1
    return found


class Greedy:
    """Goes down lists of positions, best first, turn by turn, and keeps what the rules allow."""

    def __init__(self, lists, shares, weights, *, together, caps=(), least=None, nags=None):
        self.lists, self.shares, self.weights, self.caps, self.least, self.nags = (
            lists,
            shares,
            weights,
            caps,
            least,
            nags,
        )
        self.chosen = [[] for _ in lists]
        self.together = together

    def run(self):
        """Return what each list chooses."""
        at, over = [0] * len(self.lists), [False] * len(self.lists)
        while not all(over):
            for number, order in enumerate(self.lists):
                while not over[number]:
                    if at[number] == len(order):
                        over[number] = True
                        break
                    document = order[at[number]]
                    at[number] += 1
                    if self.allowed(number, document):
                        used = sum(self.weights[i] for i in self.chosen[number])
                        fits = used + self.weights[document] <= self.shares[number]
                        if fits or not self.chosen[number]:
                            self.chosen[number].append(document)
                        over[number] = not fits
                        break
        return self.chosen

    def allowed(self, number, document):
        rivals = [i for own in self.chosen for i in own] if self.together else self.chosen[number]
        budget = sum(self.shares) if self.together else self.shares[number]
        if self.together and document in rivals:
            return False
        for values, share in self.caps:
            used = sum(self.weights[i] for i in rivals if values[i] == values[document])
            if used + self.weights[document] > math.floor(share * budget):
                return False
        size = sum(len(row) for row in self.nags[0])
        return self.least is None or all(
            Fraction(overlap(self.nags[document], self.nags[i]), size) < self.least for i in rivals
        )


def grams(text, n):
    """Return the n-grams of words of a text."""
    words = text.split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
