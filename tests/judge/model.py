"""A real, tiny judge that always gives one verdict, whatever it reads."""

import json

import torch

from tests.judge.serving import verdict
from tests.tiny import byte_tokenizer, tiny_model

ANSWER = json.dumps(verdict("A", (7, 6), (5, 4)) | {"reasoning": "so"})


def save_tiny_judge(folder, most_steps=400):
    """Train until greedy decoding is sure to write `ANSWER`; returns the last loss.

    A sliding window makes what comes next a function of the last few bytes, so that what was
    learnt after short prompts holds after long ones.
    """
    tokenizer = byte_tokenizer(chat=True)
    model = tiny_model(
        "mistral", sliding_window=8, max_position_embeddings=8192, hidden_size=24,
        intermediate_size=48, initializer_range=0.05,
    )  # fmt: skip
    torch.manual_seed(0)
    answer = tokenizer("<assistant>" + ANSWER)["input_ids"] + [0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, most_steps)
    for _ in range(most_steps):
        prefix = torch.randint(1, 257, (2, 24))
        rows = torch.cat([prefix, torch.tensor(answer).expand(2, -1)], dim=1)
        labels = rows.clone()
        labels[:, : 24 + len("<assistant>")] = -100
        loss = model(input_ids=rows, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if loss < 0.01:
            break
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return loss.item()
