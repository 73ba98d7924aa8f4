"""Checkpoints of any size on any disk: real metadata, pickled by torch, and data files that are holes."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What torch.save adds to a tensor's bytes, at most.
_RECORD = 1500
_FILES = 64


def write_sparse(path: Path, tensors: Mapping[str, tuple[tuple[int, ...], int]], *, torch_dist: bool = True) -> Path:
    """bf16 tensors, name → (shape, shards along the first axis), over 64 data files; also as megatron's `torch_dist`.

    Names and shapes are all that can be read of it.
    """
    import torch
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.metadata import (
        ChunkStorageMetadata,
        Metadata,
        MetadataIndex,
        TensorProperties,
        TensorStorageMetadata,
    )

    path.mkdir(parents=True)
    entries: dict[str, Any] = {}
    stored = {}
    ends = [0] * _FILES
    for name, (shape, shards) in tensors.items():
        chunks = []
        for number in range(shards):
            first, last = (shape[0] * at // shards for at in (number, number + 1)) if shape else (0, 0)
            offset = torch.Size([first, *(0 for _ in shape[1:])][: len(shape)])
            size = torch.Size([last - first, *shape[1:]][: len(shape)])
            chunks.append(ChunkStorageMetadata(offset, size))
            file, length = len(stored) % _FILES, 2 * math.prod(size) + _RECORD
            stored[MetadataIndex(name, offset)] = _StorageInfo(f"__{file}_0.distcp", ends[file], length)
            ends[file] += length
        entries[name] = TensorStorageMetadata(TensorProperties(torch.bfloat16), torch.Size(shape), chunks)
    (path / ".metadata").write_bytes(pickle.dumps(Metadata(entries, storage_data=stored)))
    for file, end in enumerate(ends):
        with (path / f"__{file}_0.distcp").open("wb") as data:
            data.truncate(end)
    if torch_dist:
        (path / "metadata.json").write_text(json.dumps({"sharded_backend": "torch_dist", "sharded_backend_version": 1}))
        torch.save({"iteration": 1000, "checkpoint_version": 3.0}, path / "common.pt")
    return path


def half_a_trillion(layers: int = 60, shards: int = 64) -> dict[str, tuple[tuple[int, ...], int]]:
    """550 billion elements: a mixture of experts with the experts of a layer over so many shards, and 100 small tensors a layer."""
    found: dict[str, tuple[tuple[int, ...], int]] = {"embedding.word_embeddings.weight": ((131072, 8192), 8)}
    for layer in range(layers):
        start = f"decoder.layers.{layer}."
        found[f"{start}mlp.experts.experts.linear_fc1.weight"] = ((512, 2176, 4096), shards)
        found[f"{start}mlp.experts.experts.linear_fc2.weight"] = ((512, 4096, 2176), shards)
        found |= {f"{start}mixer.small{number}.weight": ((8192,), 1) for number in range(100)}
    return found
