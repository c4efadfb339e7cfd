"""Decoders as plain loops over one text, without a cache, written from the formulas."""

import math
import statistics

import numpy as np
import torch

from hyperfitting.generate.choose import Uniforms


@torch.no_grad()
def forward(model, ids, banned=()):
    """Float64 logits of the next token, and the last hidden state of every token."""
    output = model(torch.tensor([ids]), use_cache=False, output_hidden_states=True)
    logits = output.logits[0, -1].double().numpy()
    logits[list(banned)] = -np.inf
    return logits, output.hidden_states[-1][0].double().numpy()


def softmax(logits):
    p = np.exp(logits - logits.max())
    return p / p.sum()


def draw(weights, uniform):
    """The token (of a dict or a list) where the running sum passes `uniform` of the whole."""
    pairs = list(weights.items() if isinstance(weights, dict) else enumerate(weights))
    target, total = uniform * sum(w for _, w in pairs), 0.0
    for token, weight in pairs:
        total += weight
        if total > target:
            return token
    raise AssertionError("the uniform number was below 1")


def uniforms(seed, count):
    return [Uniforms([seed]).at(0, step) for step in range(count)]


def contrastive_step(model, ids, p, candidates, alpha, hidden):
    scores = []
    rows = torch.tensor([[*ids, token] for token in candidates])
    with torch.no_grad():
        output = model(rows, use_cache=False, output_hidden_states=True)
    last = output.hidden_states[-1][:, -1].double().numpy()
    for token, h in zip(candidates, last, strict=True):
        cosines = [h @ j / np.linalg.norm(h) / np.linalg.norm(j) for j in hidden]
        scores.append((1 - alpha) * p[token] - alpha * max(cosines))
    return candidates[int(np.argmax(scores))]


def contrastive_search(model, context, count, *, alpha, k, banned=()):
    ids = list(context)
    for _ in range(count):
        logits, hidden = forward(model, ids, banned)
        best = [int(i) for i in np.argsort(-logits)[:k] if logits[i] > -np.inf]
        ids.append(contrastive_step(model, ids, softmax(logits), best, alpha, hidden))
    return ids[len(context) :]


def squash(q, v):
    v = min(max(v, -1), 1)
    if abs(v) == 1:
        return float(v > 0)
    return 1 / (1 + math.exp(-q * math.atanh(v)))


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0)


def adaptive_contrastive_search(model, context, count, *, q):
    """Also the k and alpha of every step."""
    ids, past, past_k, plan = list(context), [], [], []
    for _ in range(count):
        logits, hidden = forward(model, ids)
        p = softmax(logits)
        h = entropy(p)
        middle = statistics.median(past) if past else h
        k = round(10 * squash(q, (h - middle) / math.log(len(p))) + 5)
        best = [int(i) for i in np.argsort(-logits)[:k]]
        h_k = entropy(p[best] / p[best].sum())
        middle = statistics.median(past_k) if past_k else h_k
        alpha = round(squash(q, (h_k - middle) / math.log(k)), 2)
        past.append(h)
        past_k.append(h_k)
        plan.append((k, alpha))
        ids.append(contrastive_step(model, ids, p, best, alpha, hidden))
    return ids[len(context) :], plan


def guard_k_alpha(h, vocabulary, w, decay):
    """h: entropies of all steps so far, the current one last."""
    t = len(h)
    low = statistics.median_low
    weights = [decay ** (t - 1 - i) for i in range(t)]
    h_glob = sum(a * b for a, b in zip(weights, h, strict=True)) / sum(weights)
    local = h[-1] - (low(h) if t < w else low(h[-w:]))
    drift = 0.0 if t < w else low(h[-(w - 1) :]) - h_glob
    change = 0.0 if t == 1 else min(abs(h[-1] - h[-2]) / (h[-2] + 1e-4), 1)
    med = low(h[-(w - 1) :])
    apart = 0.0 if t < w else min(abs(med - h_glob) / (med + 1e-4), 1)
    q = 0.9 + 0.1 * (1 + change + apart)

    def x(scale):
        a, b = (q * math.atanh(max(-1 + 1e-4, min(1 - 1e-4, d / scale))) for d in (local, drift))
        share = abs(a) / (abs(b) + abs(a) + 1e-4)
        return share * a + (1 - share) * b

    k = 10 / (1 + math.exp(-x(math.log(vocabulary)))) + 5
    return int(k), 1 / (1 + math.exp(-x(math.log(k + 1e-4))))


def guard(model, context, count, *, seed, window, decay, temperature=1.0):
    ids, h, plan = list(context), [], []
    for u in uniforms(seed, count):
        p = softmax(forward(model, ids)[0])
        h.append(-sum(x * math.log(x + 1e-5) for x in p))
        k, alpha = guard_k_alpha(h, len(p), window, decay)
        plan.append((k, alpha))
        best = [int(i) for i in np.argsort(-p)[:k]]
        ids.append(draw({v: (p[v] * alpha ** ids.count(v)) ** (1 / temperature) for v in best}, u))
    return ids[len(context) :], plan


def mirostat(model, context, count, *, seed, tau, eta):
    ids, mu, kept = list(context), 2 * tau, []
    for u in uniforms(seed, count):
        p = softmax(forward(model, ids)[0])
        keep = [v for v in range(len(p)) if -math.log2(p[v]) <= mu] or [int(np.argmax(p))]
        kept.append(len(keep))
        token = draw({v: p[v] for v in keep}, u)
        surprise = -math.log2(p[token] / sum(p[keep]))
        mu -= eta * (surprise - tau)
        ids.append(token)
    return ids[len(context) :], kept


def contrastive_decoding(model, amateur, context, count, *, alpha, temperature):
    ids = list(context)
    for _ in range(count):
        p = softmax(forward(model, ids)[0])
        q = softmax(forward(amateur, ids)[0] / temperature)
        plausible = [v for v in range(len(p)) if p[v] >= alpha * p.max()]
        ids.append(max(plausible, key=lambda v: math.log(p[v]) - math.log(q[v])))
    return ids[len(context) :]
