"""Participation ratios of hidden states, for the full sample and for many resamples at once.

Definitions, section 6.4. Shape letters: N contexts, T positions of a context, D width, R draws.
"""

from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGEST_LEFT_OUT = 4
# Below this share of the second moment about the full-sample mean, subtracting leaves too few
# digits of float64 for a ratio of squares: such a draw has no spread that can be measured.
LEAST_SPREAD = 1e-5
PRODUCT_BYTES = 256 * 2**20
DRAW_BYTES = 200 * 2**20

Numbers = NDArray[np.float64]


def participation_ratios(states_NTD: Tensor, multiplicities_RN: NDArray[np.int64]) -> Numbers:
    """(tr C)^2 / |C|_F^2 of R resamples, [R], where context c occurs `multiplicities[r, c]` times.

    Definitions, section 6.4: dimensions, in [1, min(n - 1, D)]; NaN where C has no spread. Exact,
    and without a covariance per draw: with n positions, A = sum_c w_c X_c' X_c / n and the
    mean m = sum_c w_c s_c / n, C = A - m m', so tr C = tr A - |m|^2 and
    |C|^2 = |A|^2 - 2 m'A m + |m|^4, all of them forms in w. States are centred on the full
    sample first, which keeps m small and the subtractions harmless.

    Raises:
        ValueError: bad states, multiplicities of another shape or below 0, or an empty draw.
    """
    check_states(states_NTD, states_NTD)
    W_RN = np.asarray(multiplicities_RN, dtype=np.float64)
    N, T, _ = states_NTD.shape
    if W_RN.ndim != 2 or W_RN.shape[1] != N or (W_RN < 0).any() or (W_RN.sum(1) == 0).any():
        raise ValueError(f"multiplicities of {N} contexts needed, got shape {W_RN.shape}")
    states_NTD = _centred(states_NTD)
    kind = precise_dtype(states_NTD)
    sums_ND = torch.stack([x_TD.to(kind).sum(dim=0) for x_TD in states_NTD])
    norms_N = to_host(torch.stack([x_TD.to(kind).square().sum() for x_TD in states_NTD]))
    products_NN = _squared_products(states_NTD)
    sums_products_NN = to_host(sums_ND @ sums_ND.T)

    per_chunk = max(1, DRAW_BYTES // (8 * (T + 4 * N)))
    ratios = []
    for low in range(0, len(W_RN), per_chunk):
        W = W_RN[low : low + per_chunk]
        n = W.sum(axis=1) * T
        moment = W @ norms_N / n
        mean = ((W @ sums_products_NN) * W).sum(axis=1) / n**2
        cross = _squares_along_sums(states_NTD, sums_ND, W) / n**3
        squares = ((W @ products_NN) * W).sum(axis=1) / n**2 - 2 * cross + mean**2
        trace = moment - mean
        spread = (trace > LEAST_SPREAD * moment) & (squares > 0)
        ratio = np.full(len(W), np.nan)
        ratios.append(np.divide(trace**2, squares, out=ratio, where=spread))
    return np.concatenate(ratios) if ratios else np.empty(0)


def _squares_along_sums(states_NTD: Tensor, sums_ND: Tensor, W_RN: Numbers) -> Numbers:
    """sum_c w_c |X_c s|^2 for s = sum_c w_c s_c, [R]; one context at a time.

    With P = X_c S' it is |P w|^2 or w'(P'P)w, whichever of the two has fewer rows.
    """
    W_NR = torch.from_numpy(W_RN.T.copy()).to(states_NTD.device, sums_ND.dtype)
    total_R = torch.zeros_like(W_NR[0])
    for x_TD, w_R in zip(states_NTD, W_NR, strict=True):
        along_TN = x_TD.to(W_NR.dtype) @ sums_ND.T
        if len(along_TN) > len(W_NR):
            squares_NR = (along_TN.T @ along_TN @ W_NR).mul_(W_NR)
        else:
            squares_NR = (along_TN @ W_NR).square_()
        total_R += squares_NR.sum(dim=0).mul_(w_R)
    return to_host(total_R)


def _squared_products(states_NTD: Tensor) -> Numbers:
    """B[c, c'] = |X_c X_c'^T|_F^2 = <X_c'X_c, X_c'^T X_c'>, [N, N]; the way with less work."""
    N, T, D = states_NTD.shape
    if D * (T + N) <= N * T * T:
        return _products_by_width(states_NTD, PRODUCT_BYTES)
    return _products_by_position(states_NTD, PRODUCT_BYTES)


def _products_by_width(states_NTD: Tensor, limit: int) -> Numbers:
    """From the contexts' D x D Gram matrices, as many rows at a time as fit `limit` bytes."""
    N, _, D = states_NTD.shape
    kind = precise_dtype(states_NTD)
    rows = max(1, limit // (8 * N * D))
    total_NN = np.zeros((N, N))
    for low in range(0, D, rows):
        high = min(low + rows, D)
        gram = torch.empty(N, high - low, D - low, dtype=kind, device=states_NTD.device)
        for context, x_TD in enumerate(states_NTD):
            right = x_TD[:, low:].to(kind)
            torch.mm(right[:, : high - low].T, right, out=gram[context])
        # Gram matrices are symmetric: what lies right of the diagonal block counts twice.
        gram[:, :, high - low :] *= sqrt(2)
        flat = gram.reshape(N, -1)
        total_NN += to_host(flat @ flat.T)
    return total_NN


def _products_by_position(states_NTD: Tensor, limit: int) -> Numbers:
    """From products between the positions of two contexts, in blocks of `limit` bytes."""
    N, T, D = states_NTD.shape
    kind = precise_dtype(states_NTD)
    at_once = max(1, limit // (8 * T * (T + D)))
    total_NN = np.zeros((N, N))
    for context in range(N):
        left_TD = states_NTD[context].to(kind)
        for low in range(context, N, at_once):
            right = states_NTD[low : low + at_once].to(kind)
            between = (left_TD @ right.reshape(-1, D).T).square_().reshape(T, len(right), T)
            total_NN[context, low : low + len(right)] = to_host(between.sum(dim=(0, 2)))
    return np.triu(total_NN) + np.triu(total_NN, 1).T


def full_sample_ratios(states_NTD: Tensor) -> tuple[float | None, float | None]:
    """The participation ratio of all positions, and without the coordinates that vary most."""
    N, T, D = states_NTD.shape
    states_NTD = _centred(states_NTD)
    kind = precise_dtype(states_NTD)
    gram_DD = torch.zeros(D, D, dtype=kind, device=states_NTD.device)
    sum_D = torch.zeros(D, dtype=kind, device=states_NTD.device)
    for x_TD in states_NTD:
        x_TD = x_TD.to(kind)
        gram_DD.addmm_(x_TD.T, x_TD)
        sum_D += x_TD.sum(dim=0)
    mean_D = to_host(sum_D) / (N * T)
    gram = to_host(gram_DD) / (N * T)
    covariance = gram - np.outer(mean_D, mean_D)
    kept = np.argsort(-np.diag(covariance), kind="stable")[LARGEST_LEFT_OUT:]
    return _ratio(covariance, gram), _ratio(
        covariance[np.ix_(kept, kept)], gram[np.ix_(kept, kept)]
    )


def _ratio(covariance: Numbers, gram: Numbers) -> float | None:
    trace, squares = float(np.trace(covariance)), float((covariance**2).sum())
    if trace <= LEAST_SPREAD * float(np.trace(gram)) or squares == 0:
        return None
    return trace**2 / squares


def _centred(states_NTD: Tensor) -> Tensor:
    """States minus their mean over all positions, subtracted in full precision, float32."""
    kind = precise_dtype(states_NTD)
    mean_D = torch.stack([x_TD.to(kind).mean(dim=0) for x_TD in states_NTD]).mean(dim=0)
    return torch.stack([(x_TD.to(kind) - mean_D).float() for x_TD in states_NTD])


def precise_dtype(tensor: Tensor) -> torch.dtype:
    """float64 where the device has it: exempt from autocast and from reduced matmul modes."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def to_host(tensor: Tensor) -> Numbers:
    """The same values and shape as a float64 array."""
    values: Numbers = tensor.cpu().double().numpy()
    return values


def check_states(original_NTD: Tensor, tuned_NTD: Tensor) -> None:
    """Refuse states that cannot be compared.

    Raises:
        ValueError: different shapes, not [N, T, D], an empty axis, or values that are not finite.
    """
    shape = original_NTD.shape
    if shape != tuned_NTD.shape or len(shape) != 3 or 0 in shape:
        raise ValueError(
            f"states of shape [N, T, D] of the same tokens needed, got {tuple(shape)} "
            f"and {tuple(tuned_NTD.shape)}"
        )
    if not (original_NTD.isfinite().all() and tuned_NTD.isfinite().all()):
        raise ValueError("states must be finite")
