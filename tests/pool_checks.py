"""Compares a pool with the records of its completions."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflab.explain.pool import Pool, read_pool
from preflab.store.workspace import Workspace


def check_pool(file: Path, workspace: Path) -> Pool:
    """Every text is its record's, and its log-probability under the policy that wrote it the sampler's own."""
    pool = read_pool(file)
    with Workspace.open(workspace) as opened:
        records = {one.id: one for one in opened.completions(sorted(set(pool.completion_ids)))}
    for row, (name, text) in enumerate(zip(pool.completion_ids, pool.completions, strict=True)):
        record = records[name]
        assert (record.prompt_id, record.text) == (pool.prompt_ids[row], text)
        assert pool.logps[pool.policies[row], row] == pytest.approx(sum(record.logps), abs=1e-3)
        assert pool.num_tokens[row] == len(record.token_ids)
    return pool
