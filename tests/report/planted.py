"""A made-up study folder whose every number is known."""

import json
from dataclasses import asdict

from hyperfitting.records import Generation, Measurement, MonitorRow, PairedTest
from hyperfitting.runs import RunFolder, StudyFolder

ATTACK = '<script>alert(1)</script>\x1b[31m & "quotes" {{ 7 * 7 }}'
DIGEST = "1" * 64
MATCHED = "original_entropy_matched"

ENVIRONMENT = {
    "packages": {"torch": "2"}, "python": "3.11", "platform": "any", "threads": 2,
}  # fmt: skip


def measurement(arm, metric, mean, seed=None, **changes):
    plain = {"low": mean and mean - 0.01, "high": mean and mean + 0.01, "n": 2, "undefined": 0}
    plain |= {"model": "m<b>", "domain": "d", "mode": "fixed_length", "length": 4}
    return Measurement(arm=arm, seed=seed, metric=metric, mean=mean, **{**plain, **changes})


def arm_rows(arm, seed, ttr, **changes):
    """Rows of a tuned arm and its controls."""
    name = {"matched_to": arm}
    parameters = changes.pop("parameters", {})
    own = {"parameters": parameters, **changes}
    matched = {"parameters": name | parameters, **changes}
    return [
        measurement(arm, "ttr", ttr, seed, **own),
        measurement(arm, "bigram_repetition", 0.05, seed, **own),
        measurement(arm, "prediction_entropy_nats", 1.5, seed, prefix="TF", **own),
        measurement(arm, "prediction_entropy_own_nats", 1.25, seed, prefix="OP", **own),
        measurement(arm, "val_ppl", 1234.5, seed, prefix="TF", **own),
        measurement(arm, "looped_rate", 0.0, seed, **own),
        measurement(arm, "top1_agreement_tf", 0.55, seed, prefix="TF", **own),
        measurement(arm, "spearman", 0.31, seed, prefix="OP", **own),
        measurement(arm, "spearman", 0.43, seed, prefix="TF", **own),
        measurement(arm, "rank_1", 0.61, seed, prefix="OP", **own),
        measurement(arm, "rank_1", 0.52, seed, prefix="TF", **own),
        measurement(MATCHED, "ttr", 0.12, seed, **matched),
        measurement(MATCHED, "prediction_entropy_nats", 1.5, seed, prefix="TF", **matched),
        measurement(MATCHED, "top1_agreement_tf", 1.0, seed, prefix="TF", **matched),
        measurement(MATCHED, "tau_star", 0.59, seed, prefix="TF", **matched),
        measurement(f"{MATCHED}_sampled", "ttr", 0.62, seed, **matched),
        measurement(f"{arm}_sampled", "ttr", 0.75, seed, **own),
    ]


REFERENCES = [
    measurement("human", "ttr", 0.77),
    measurement("human", "bigram_repetition", 0.04),
    measurement("human", "val_ppl", None, reason="human text is not the output of a model", n=0),
    measurement("original", "ttr", 0.12),
    measurement("original", "bigram_repetition", 0.86),
    measurement("original", "prediction_entropy_nats", 3.0, prefix="TF"),
    measurement("original", "top1_agreement_tf", 1.0, prefix="TF"),
    measurement("original", "val_ppl", 60.0, prefix="TF"),
    measurement("original", "looped_rate", 0.9),
    measurement("original_sampled", "ttr", 0.8),
]


def paired(a, b, metric, difference, p_holm, **changes):
    plain = {"low": difference and difference - 0.1, "high": difference and difference + 0.1}
    plain |= {"p": p_holm and p_holm / 2, "n": 2}
    return PairedTest(
        a=a, b=b, metric=metric, difference=difference, p_holm=p_holm, **plain | changes
    )


def tests_of(arm, seed, **changes):
    matched = {"b_parameters": {"matched_to": arm}, "seed": seed} | changes
    return [
        paired(arm, "original", "ttr", 0.58, 0.0002, seed=seed, **changes),
        paired(
            arm, "human", "ttr", None, None, seed=seed, n=1,
            reason="fewer than two contexts with both values", **changes,
        ),
        paired(arm, f"{MATCHED}_sampled", "ttr", 0.08, 0.005, **matched),
        paired(f"{arm}_sampled", f"{MATCHED}_sampled", "ttr", 0.13, 0.004, **matched),
        paired(f"{arm}_sampled", f"{MATCHED}_sampled", "bigram_repetition", 0.01, 0.6, **matched),
        *(
            paired(
                a, f"{MATCHED}_sampled", "ttr", difference, None, margin=0.02, confidence=0.9,
                p_equivalence=0.9999, **matched,
            )
            for a, difference in ((arm, 0.08), (f"{arm}_sampled", 0.13))
        ),
    ]  # fmt: skip


def interval(mean, n=2):
    return {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "n": n}


def value(mean):
    return {"value": mean, "low": mean - 1, "high": mean + 1}


def explained(arm, seed, parameters):
    """The entry of one tuned arm in every file of `hyperfit explain`."""
    described = {"arm": arm, "seed": seed, "parameters": parameters}
    taps = [(0, "block_output"), (0, "rms_normalised"), (1, "block_output")]
    taps += [(1, "rms_normalised"), (1, "post_final_norm")]
    layers = [
        {
            "layer": layer, "space": space, "cosine": interval(1 - layer / 4),
            "l2": interval(20.0 * layer + 1), "l2_relative": interval(0.5 * layer + 0.1),
            "pr_original": value(10.0), "pr_tuned": value(12.0),
            "delta_dim": value(2.0) if layer else None, "delta_dim_relative": value(0.2),
            "delta_dim_with_first_token": 2.5, "delta_dim_without_4_largest": 1.5,
            "positions": 8, "fewer_than_10_per_dimension": True,
        }
        for layer, space in taps
    ]  # fmt: skip
    shares = {"rank_1": 0.5, "rank_2_10": 0.25, "rank_11_200": 0.125, "rank_gt_200": 0.125}
    ranks = {
        "shares": {name: interval(share) for name, share in shares.items()},
        "histogram": {"edges": [1, 2, 4, 8], "counts": [4, 3, 1]},
        "by_position": {name: [share] * 4 for name, share in shares.items()},
    }
    variety = {"ttr": interval(0.2), "bigram_repetition": interval(0.8), "looped": interval(0.5)}
    injected = {"draws": 1, "share_of_gain": 0.1, **variety, "ttr_minus_original": interval(0.01)}
    agreements = {f"top1_agreement_{name}": interval(0.4) for name in ("original", "tuned")}
    return {
        "geometry": described | {
            "layers": layers,
            "regions_in_words": "Stable: layer 0.\nTerminal: layer 1.",
            "terminal_expansion_in_words": "The terminal expansion survives.",
            "beside_block_swap_in_words": "They agree.",
        },
        "provenance": described | {"written": ranks, "human": ranks, "ranks": [], "tokens": []},
        "static_bias": described | {
            "static_share": 0.118, "in_words": "One constant shift explains 12 %.",
            "promoted_tokens": 500, "positions": 8, "rank_positions": 8,
            "most_promoted": [
                {"id": 1, "text": " <script>\x1b", "mean_rank_improvement": 12.0,
                 "mean_logit_shift": 2.5}
            ],
            "strength_0_equals_original": 1.0,
            "rows": [
                {"kind": "promoted", "strength": 0.0, "p_holm": 1.0, **injected},
                {"kind": "promoted", "strength": 0.01, "p_holm": 0.04, **injected},
                {"kind": "promoted", "strength": 0.2, "p_holm": 0.03, **injected},
                {"kind": "random", "strength": 0.01, "p_holm": 1.0, **injected},
            ],
            "tuned": variety, "verdict_in_words": "No strength moves it.",
        },
        "joint_null": described | {
            "rows": [
                {"kind": kind, "temperatures": [0.6, 0.62],
                 "share_explained": value(0.2) | {"n": 8},
                 "top1_agreement_tuned": interval(0.3), "equals_tuned": 0.0, **variety}
                for kind in ("temperature", "shift", "joint")
            ],
            "gain": value(0.5) | {"reason": None}, "original": variety, "tuned": variety,
            "agreement_without": interval(0.3), "in_words": "Together they explain 20 %.",
        },
        "block_swap": described | {
            "num_blocks": 1, "shared_blocks": 0,
            "rows": [
                {"hybrid": upper, "blocks": blocks, **variety, **agreements,
                 "ttr": interval(0.2 + 0.5 * (blocks if upper == "tuned_upper" else 1 - blocks))}
                for upper in ("tuned_upper", "original_upper") for blocks in (1, 0)
            ],
            "references": {"original": variety, "tuned": variety | {"ttr": interval(0.7)}},
            "in_words": "The last 1 of 1 blocks bring the gain.",
        },
        "single_blocks": described | {
            "num_blocks": 1, "shared_blocks": 0,
            "rows": [
                {"change": change, "block": block, **variety, "top1_agreement_tuned": interval(0.4)}
                for change in ("put_in", "taken_out") for block in (1, None)
            ],
            "original": variety, "tuned": variety, "agreement": interval(0.3),
            "in_words": "Block 1 alone raises that most.",
        },
        "rotation": described | {
            "rows": [
                {"block": 1, "matrices": 7, "relative_change": 0.1, "values_share": 0.02,
                 "values_share_by_chance": 0.01}
            ],
            "hybrids": [
                {"part": part, **variety, "top1_agreement_tuned": interval(0.4)}
                for part in ("values", "vectors", "both")
            ],
            "original": variety, "tuned": variety, "agreement": interval(0.3),
            "in_words": "At most 2 % changes singular values.",
        },
        "lens": described | {
            "num_blocks": 1, "promoted": 8, "positions": 8,
            "rows": [
                {"layer": layer, "rank_tuned": value(20.0 - 19 * layer) | {"n": 8},
                 "rank_original": value(20.0) | {"n": 8}, "passed": value(float(layer)) | {"n": 8}}
                for layer in (0, 1)
            ],
            "last_block": value(0.9) | {"n": 8}, "in_words": "Half have passed by layer 1 of 1.",
        },
        "overrides": described | {
            "rows": [
                {"low_nats": 0.1 * part, "high_nats": 0.1 * part + 0.1, "positions": 8,
                 "overridden": value(0.5) | {"n": 8}, "drawn": value(0.4) | {"n": 8}}
                for part in range(5)
            ],
            "rise": value(0.0) | {"n": 8}, "in_words": "It overrides at 0.50.",
        },
        "tokens": described | {
            "function_words_version": "en-1",
            "rows": [
                {"rank_class": name, "tokens": 8, "share": interval(0.5),
                 "kinds": {"function_word": interval(0.5)}, "seen_before": interval(0.25),
                 "avoids_repeat": interval(0.1)}
                for name in ("1", ">10")
            ],
        },
    }  # fmt: skip


def _matching(arm, seed, parameters):
    spread = {"mean": 0.59, "median": 0.58, "p5": 0.5, "p95": 0.7, "unsolved": 1}
    spread |= {"largest_residual_nats": 9e-5}
    return {
        "per_context": spread | {"n": 2}, "per_step": spread | {"n": 8},
        "global": {"tau": 0.6, "residual_nats": -2e-9, "unsolved": 0},
        "arm": arm, "seed": seed, "parameters": parameters,
        "greedy_positions": 4000, "greedy_differences": 0, "greedy_ties_by_rounding": 3,
        "greedy_texts": 2, "greedy_texts_equal": 0,
        "one_temperature": {
            "step_residual_nats": 0.74, "largest_nats": 0.9, "expected_nats": 9e-5,
            "spread_beyond_tolerance": 0.12,
        },
    }  # fmt: skip


def _run(study, arm, seed, parameters, is_foreign):
    described = {"arm": arm, "seed": seed, "parameters": parameters}
    if is_foreign:
        return described | {"path": None, "checkpoint": "someone/adapter"}
    run = RunFolder(study.run_path(arm, seed))
    run.path.mkdir(parents=True)
    for epoch in range(3):
        run.append_metrics(
            MonitorRow(
                epoch=epoch, step=epoch, train_loss=None if epoch == 0 else 1 / epoch,
                val_loss=2.0, val_ppl=7.4, ttr=0.1 + epoch / 5, bigram_repetition=0.1,
                rank_1=0.6, rank_2_10=0.3, rank_gt_10=0.1, rank_prefix="OP",
                num_contexts=2, num_windows=2, seconds=0.1,
            )
        )  # fmt: skip
    return described | {
        "path": str(run.path.relative_to(study.path)), "method": "full_sft",
        "final_loss": 0.03 + (seed or 0) / 100, "epochs": 2,
        "final_loss_interval": {"low": 0.021, "high": 0.042, "n": 2, "confidence": 0.95},
         "trainable_params": 1000,
        "num_train": 2, "stopped_by": "ttr_plateau", "train_seconds": 1.5,
    }  # fmt: skip


def _generations(study, arm, seed, arm_parameters, decoder, text, key):
    texts = [
        Generation(
            arm=arm, seed=seed, context_index=i, mode="fixed_length", context_ids=[1],
            continuation_ids=[1, 2, 3, 1], context=f"context {i}", continuation=text,
            ending="looped",
        )
        for i in range(2)
    ]  # fmt: skip
    path = study.write_generations(key, texts)
    return {
        "arm": arm, "seed": seed, "arm_parameters": arm_parameters, "mode": "fixed_length",
        "length": 4, "parameters": decoder, "file": str(path.relative_to(study.path)), "ties": 0,
        "cached_equals_uncached": None if "sampling_seed" in decoder or arm == "human" else 1.0,
    }  # fmt: skip


def _trace(arm, index):
    """Four tokens, one of each kind; the tuned arm's second text is plain."""
    is_plain = arm in ("human", "original") or index == 1
    tops = [[2, 1, 3]] * 4
    chances = [[0.5, 0.25, 0.125]] * 4
    return {
        "context": index, "pieces": [ATTACK, " said", "\n", "end"],
        "rank": [1] * 4 if is_plain else [1, 4, 11, 1], "original": [0.5, 0.25, 0.0001, 0.9999],
        "tuned": None if arm == "original" else [0.75, 0.5, 0.25, 0.125],
        "original_top": tops, "original_top_p": chances,
        "tuned_top": None if arm == "original" else tops,
        "tuned_top_p": None if arm == "original" else chances,
        "loop": None if is_plain else 2, "recited": [] if is_plain else [1],
        "broken": [] if is_plain else [0],
    }  # fmt: skip


def plant(
    path, *, arm="hyperfitted", seeds=(0,), parameters=None, name="m<b>", is_foreign=False,
    is_explained=True,
):  # fmt: skip
    """Write the files of an evaluated study of one tuned arm, and return its folder."""
    study, parameters = StudyFolder(path), parameters or {}
    greedy, sample = {"decoder": "greedy"}, {"decoder": "sample"}
    generations = [_generations(study, "human", None, {}, greedy, "plain", "k")]
    generations.append(_generations(study, "original", None, {}, greedy, "plain", "k"))
    rows, tests = list(REFERENCES), []
    for seed in seeds:
        ttr = 0.7 + (seed or 0) / 100
        rows += arm_rows(arm, seed, ttr, parameters=parameters)
        generations.append(_generations(study, arm, seed, parameters, greedy, ATTACK, f"k{seed}"))
        for draw in range(2):
            decoder = sample | {"sampling_seed": draw}
            generations.append(
                _generations(
                    study, f"{arm}_sampled", seed, parameters, decoder, "sampled", f"{seed}{draw}"
                )
            )
    several = len(seeds) > 1
    if several:
        rows += arm_rows(arm, None, 0.71, parameters=parameters, num_seeds=len(seeds))
    changes = {"num_seeds": len(seeds), "a_parameters": parameters}
    if several:
        changes |= {"noise": "trainings and contexts", "claimable": 0.0456}
    tests += tests_of(arm, None if several else seeds[0], **changes)
    account = {"nothing_to_train_on": 0, "read": 5, "empty": 0, "duplicate": 1, "too_short": 0}
    account |= {"held_out": 2, "training_windows": 2, "training_windows_available": 2}
    described = [{"arm": arm, "seed": seed, "parameters": parameters} for seed in seeds]
    info = {
        "version": 1,
        "definitions_version": 1,
        "model": {"name": name, "digest": None if is_foreign else "0" * 64},
        "data": {
            "source": "d", "windows": "fixed", "context_tokens": 1, "continuation_tokens": 4,
            "account": account, "contexts_digest": DIGEST,
        },
        "num_contexts": 2,
        "evaluate": {
            "resamples": 500, "natural_tokens": 8, "confidence": 0.9, "sampling_seeds": 2,
            "coherence_model": None,
        },
        "elsewhere": [],
        "ends": [{"id": 0, "token": "<end>", "why": ["the tokenizer's end of a text", "a reason"]}],
        "decoding": {
            "cache": "the model's", "position_ids": True, "together": "one length",
            "note": "reads each text anew",
        },
        "decoders": [],
        "mauve": {},
        "runs": [_run(study, arm, seed, parameters, is_foreign) for seed in seeds],
        "entropy_matching": [_matching(arm, seed, parameters) for seed in seeds],
        "run_agreement": [
            {"a": a, "b": b} | interval(0.7)
            for i, a in enumerate(described) for b in described[i + 1 :]
        ],
        "generations": generations,
        "environment": ENVIRONMENT,
    }  # fmt: skip
    study.study_file.write_text(json.dumps(info))
    study.measurements_file.write_text(
        json.dumps({"rows": [asdict(r) for r in rows], "tests": [asdict(t) for t in tests]})
    )
    tuned = {"arm": arm, "seed": seeds[0], "parameters": parameters}
    others = [{"arm": each, "seed": None, "parameters": {}} for each in ("human", "original")]
    arms = [
        each | {"texts": [_trace(each["arm"], i) for i in range(2)]} for each in (*others, tuned)
    ]
    traces = {"words": {"1": ATTACK, "2": " said", "3": "\n"}, "arms": arms, "long_run": 10}
    study.traces_file.write_text(json.dumps(traces))
    if is_explained:
        study.explain.mkdir()
        entries = [explained(arm, seed, parameters) for seed in seeds]
        for part in entries[0]:
            content = {"version": 1, "contexts_digest": DIGEST, "model": name}
            content |= {"num_contexts": 2, "explain": {}, "environment": ENVIRONMENT}
            content["arms"] = [entry[part] for entry in entries]
            study.explain_file(part).write_text(json.dumps(content))
    return study
