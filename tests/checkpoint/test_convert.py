"""There and back is bitwise, for every pair of layouts and formats, on models that megatron built and saved; megatron loads the rest."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoint.megatron_checkpoints import SPLITS, plain_tensors
from workbench.checkpoint.convert import convert
from workbench.checkpoint.layouts import layout_of
from workbench.checkpoint.opening import open_checkpoint
from workbench.pattern.model import Pattern

FOLDERS = ["unfused", "bf16", "distributed fp32", "weights"]
# Every layout that a state dict can have, one after the other; each from the one before.
ROUND = [("fused", "te"), ("canonical", "local"), ("grouped", "te"), ("fused", "local"), ("canonical", "te")]


def digest(path: Path) -> str:
    """Of every byte and name below a path."""
    found = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            found.update(f"{file.relative_to(path)}\n".encode() + file.read_bytes())
    return found.hexdigest()


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names that one side lacks, or whose bits, shape or type differ."""

    def bits(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.contiguous().reshape(-1).view(torch.uint8)

    def same(name: str) -> bool:
        a, b = one[name], other[name]
        return (a.shape, a.dtype) == (b.shape, b.dtype) and torch.equal(bits(a), bits(b))

    return sorted((one.keys() ^ other.keys()) | {name for name in one.keys() & other.keys() if not same(name)})


# ------------------------------------------------------------------------------------ there and back


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_through_every_layout_and_back(megatron_saves, tmp_path, kind):
    """With optimizer states: torch_dist → each layout as safetensors → torch_dist, which megatron reads."""
    source = megatron_saves(kind)
    before, at = digest(source), source
    for number, (to, names) in enumerate(ROUND):
        target = tmp_path / (f"{number}.safetensors" if number % 2 else str(number))
        done = convert(at, target, to, names=names, format="safetensors")
        assert done.verified
        assert (done.target.layout, done.source.form) == (to, "state_dict" if number else "distributed")
        assert done.copied_bytes + done.gathered_bytes == done.target.nbytes == done.source.nbytes
        # Groups that are all an attention and an MLP have the names of a GPT model.
        assert layout_of(open_checkpoint(target)).name in (
            to,
            *(["gpt"] if to == "grouped" and kind == "weights" else []),
        )
        at = target
    convert(at, tmp_path / "back", format="torch_dist")
    want, found = plain_tensors(source), plain_tensors(tmp_path / "back")
    # What the source holds among its common values is a tensor by itself in what comes from a file of tensors.
    assert {name for name in differing(want, found) if "common_step" not in name} == set()
    assert digest(source) == before


@pytest.mark.parametrize("case", SPLITS)
def test_what_several_ranks_wrote(ranked_saves, tmp_path, case):
    source = ranked_saves(case)
    before = digest(source)
    convert(source, tmp_path / "a.safetensors", "fused")
    convert(tmp_path / "a.safetensors", tmp_path / "back", format="torch_dist")
    want, found = plain_tensors(source), plain_tensors(tmp_path / "back")
    assert {name for name in differing(want, found) if "common_step" not in name} == set()
    assert digest(source) == before


@pytest.mark.parametrize("kind", ["gpt experts", "gpt in layers"])
def test_a_gpt_folder_and_back(megatron_saves, tmp_path, kind):
    source = megatron_saves(kind)
    convert(source, tmp_path / "a", "canonical")
    convert(tmp_path / "a", tmp_path / "fused.safetensors", "fused")
    convert(tmp_path / "fused.safetensors", tmp_path / "gpt.safetensors", "gpt", names="local")
    convert(tmp_path / "gpt.safetensors", tmp_path / "back", "gpt", format="torch_dist", names="local")
    assert differing(plain_tensors(source), plain_tensors(tmp_path / "back")) == []


def random_pattern(seed: int) -> str:
    """Pairs and stand-alone layers of one family of attention, with or without MTP."""
    pick = random.Random(seed)
    attention = pick.choice(["*", "+", "D"])
    items = [pick.choice(["M", "G", attention, "-", "E"]) for _ in range(pick.randint(3, 6))]
    main = str(Pattern("".join(items)).fused()) if pick.random() < 0.7 else "".join(items)
    return main + pick.choice(
        ["", "/[*-]", "/*E/*E"] if attention == "*" else ["", "/+-"] if attention == "+" else [""]
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_random_model_that_torch_saved(tmp_path, seed):
    """A fused model's file → canonical → an unfused model: the same logits; and back to the same file."""
    from workbench.fusion import runtime  # makes megatron importable

    from workbench.fusion.model import build_model, forward_tokens  # isort: skip
    from workbench.fusion.state import canonical_state_dict, load_canonical_state_dict

    runtime.start()
    pattern = Pattern(random_pattern(seed))
    model = build_model(pattern, seed=seed, backend="local").eval()
    state = {name: each for name, each in model.state_dict().items() if isinstance(each, torch.Tensor)}
    if seed % 2:
        source = tmp_path / "fused.pt"
        torch.save(model.state_dict(), source)
    else:
        source = tmp_path / "fused.safetensors"
        save_file(state, source)
    before = digest(source)
    convert(source, tmp_path / "canonical.safetensors")
    held = load_file(tmp_path / "canonical.safetensors")
    assert differing(held, dict(canonical_state_dict(model))) == []
    unfused = build_model(pattern.unfused(), seed=seed + 1, backend="local").eval()
    load_canonical_state_dict(unfused, held)
    tokens = torch.randint(0, 128, (2, 9), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        assert torch.equal(forward_tokens(model, tokens), forward_tokens(unfused, tokens))
    convert(tmp_path / "canonical.safetensors", tmp_path / "back.safetensors", "fused", pattern=pattern, names="local")
    assert differing(load_file(tmp_path / "back.safetensors"), state) == []
    assert digest(source) == before


# ------------------------------------------------------------------------------------ what megatron loads


def test_a_written_folder_loads_into_any_fusion(megatron_saves, tmp_path):
    from workbench.fusion.checkpointing import load_checkpoint
    from workbench.fusion.model import build_model
    from workbench.fusion.state import canonical_state_dict

    convert(megatron_saves("bf16"), tmp_path / "a.safetensors", "fused")
    convert(tmp_path / "a.safetensors", tmp_path / "b", format="torch_dist")
    theirs, ours = (build_model("[M-]*E", seed=seed, dtype="bf16", backend="local") for seed in (8, 9))
    assert (
        load_checkpoint(megatron_saves("bf16"), theirs).iteration
        == load_checkpoint(tmp_path / "b", ours).iteration
        == 1
    )
    assert differing(dict(canonical_state_dict(ours)), dict(canonical_state_dict(theirs))) == []


@pytest.mark.parametrize("link", [True, False])
def test_a_folder_of_other_keys_keeps_its_optimizer(megatron_saves, tmp_path, link):
    """canonical → grouped → canonical: data files as they are, and the optimizer loads from what comes out."""
    from tests.fusion.checkpoints import Training  # isort: skip
    from workbench.fusion.checkpointing import load_checkpoint

    source = megatron_saves("distributed bf16")
    before = digest(source)
    there = convert(source, tmp_path / "grouped", "grouped", link=link)
    back = convert(tmp_path / "grouped", tmp_path / "back", "canonical", link=link)
    size = (source / "__0_0.distcp").stat().st_size
    for done in (there, back):
        assert (done.linked_bytes, done.copied_bytes, done.gathered_bytes) == ((size, 0, 0) if link else (0, size, 0))
    assert {"decoder.layers.0.mixer.A_log", "decoder.layers.1.mixer.A_log"} & plain_tensors(
        tmp_path / "grouped"
    ).keys() == {"decoder.layers.0.mixer.A_log"}
    ours, theirs = (Training("[M-]*E", "distributed bf16", seed=seed) for seed in (4, 5))
    assert load_checkpoint(tmp_path / "back", ours.model, ours.optimizer) == load_checkpoint(
        source, theirs.model, theirs.optimizer
    )
    assert differing(ours.train(1, 1).weights(), theirs.train(1, 1).weights()) == []
    assert digest(source) == before


@pytest.mark.parametrize(
    ("kind", "pattern"), [("gpt in layers", "[*-][*-][*-]"), ("gpt", "[*-]*-[*-]"), ("gpt experts", "[*E]*E[*E]")]
)
def test_gpt_becomes_a_hybrid_that_loads(megatron_saves, tmp_path, kind, pattern):
    from workbench.fusion.checkpointing import load_checkpoint
    from workbench.fusion.gpt import load_gpt_checkpoint
    from workbench.fusion.model import build_model
    from workbench.fusion.state import canonical_state_dict

    convert(megatron_saves(kind), tmp_path / "a", "canonical")
    ours, theirs = (build_model(pattern, seed=seed, backend="local") for seed in (1, 2))
    assert load_checkpoint(tmp_path / "a", ours).iteration == 12
    # Megatron does not translate the one whose layers are numbered; it is the same model.
    load_gpt_checkpoint(megatron_saves("gpt in layers" if kind == "gpt" else kind), theirs)
    assert differing(dict(canonical_state_dict(ours)), dict(canonical_state_dict(theirs))) == []


@pytest.mark.parametrize("experts", [False, True])
def test_a_hybrid_becomes_a_gpt_that_upstream_loads_strictly(tmp_path, experts):
    from tests.gpt_models import gpt  # isort: skip
    from megatron.core import dist_checkpointing  # isort: skip
    from workbench.arch.sizes import ModelSizes
    from workbench.fusion.model import build_model
    from workbench.fusion.state import canonical_state_dict

    hybrid = build_model(("[*E]" if experts else "[*-]") * 3, seed=6, backend="local")
    convert(hybrid, tmp_path / "gpt", "gpt", format="torch_dist", names="local")
    model = gpt(ModelSizes(), experts=experts)
    asked = {"model": model.sharded_state_dict()}
    loaded, missing, unexpected = dist_checkpointing.load(asked, str(tmp_path / "gpt"), strict="return_all")
    assert (missing, unexpected) == (set(), set())
    model.load_state_dict(loaded["model"])
    torch.save(model.state_dict(), tmp_path / "model.pt")
    convert(tmp_path / "model.pt", tmp_path / "back.safetensors")
    assert differing(load_file(tmp_path / "back.safetensors"), dict(canonical_state_dict(hybrid))) == []


# ------------------------------------------------------------------------------------ formats and refusals
