"""There and back is bitwise, for every pair of layouts and formats, on models that megatron built and saved; megatron loads the rest."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoint.megatron_checkpoints import KINDS, SPLITS, plain_tensors
from workbench.checkpoint import convert as converting
from workbench.checkpoint.convert import convert
from workbench.checkpoint.converting import write_torch_dist as folder_writer
from workbench.checkpoint.converting.write_safetensors import INDEX
from workbench.checkpoint.layouts import layout_of
from workbench.checkpoint.opening import open_checkpoint
from workbench.errors import WorkbenchError
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


@pytest.fixture(scope="module")
def small(tmp_path_factory, megatron_saves):
    """The canonical file of a small model, `*-M*E`-like, with everything that names can differ in."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    convert(megatron_saves("bf16"), path)
    return path


def test_the_format_follows_the_source_and_the_targets_name(megatron_saves, small, tmp_path):
    assert convert(megatron_saves("bf16"), tmp_path / "a").target.format == "torch_dist"
    assert convert(megatron_saves("bf16"), tmp_path / "a.safetensors").target.format == "safetensors"
    done = convert(small, tmp_path / "b")
    assert (done.target.format, done.files) == ("safetensors", ("model.safetensors",))
    torch.save(load_file(small), tmp_path / "c.pt")
    assert convert(tmp_path / "c.pt", tmp_path / "c").target.format == "safetensors"


def test_a_large_one_becomes_a_set(small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "workbench.checkpoint.converting.write_safetensors.write_sharded.__defaults__", (None, None, 50_000)
    )
    done = convert(small, tmp_path / "set", "fused")
    assert done.files[-1] == INDEX
    assert len(done.files) > 3
    convert(tmp_path / "set", tmp_path / "back.safetensors", "canonical")
    assert differing(load_file(tmp_path / "back.safetensors"), load_file(small)) == []


def test_records_and_files_of_any_size(small, tmp_path, monkeypatch):
    sizes = {**(folder_writer.write_torch_dist.__kwdefaults__ or {}), "record_bytes": 1000, "file_bytes": 40_000}
    monkeypatch.setattr(folder_writer.write_torch_dist, "__kwdefaults__", sizes)
    done = convert(small, tmp_path / "a", format="torch_dist")
    assert len(done.files) > 5
    convert(tmp_path / "a", tmp_path / "back.safetensors")
    assert differing(load_file(tmp_path / "back.safetensors"), load_file(small)) == []


def test_the_pattern_and_iteration_are_kept(megatron_saves, tmp_path):
    done = convert(megatron_saves("bf16"), tmp_path / "a.safetensors", "fused")
    values = open_checkpoint(tmp_path / "a.safetensors").values
    assert (values["workbench.pattern"], values["workbench.layout"], values["iteration"]) == ("[M-][*E]", "fused", "1")
    assert any("optimizer" in note for note in done.notes)
    convert(tmp_path / "a.safetensors", tmp_path / "b", format="torch_dist")
    values = open_checkpoint(tmp_path / "b").values
    assert (values["iteration"], values["workbench"]) == (1, {"pattern": "M-*E", "extra": {}})


def test_a_mapping_and_a_checkpoint(small, tmp_path):
    convert(load_file(small), tmp_path / "a.safetensors", "fused")
    convert(open_checkpoint(tmp_path / "a.safetensors"), tmp_path / "b.safetensors")
    assert differing(load_file(tmp_path / "b.safetensors"), load_file(small)) == []


def test_the_result_as_data(small, tmp_path):
    done = convert(small, tmp_path / "a.safetensors", "fused", pattern="M-[*E]")
    data = json.loads(json.dumps(done.to_json()))
    assert data["schema"] == "workbench.conversion/1"
    assert (data["verified"], data["dry_run"], data["files"]) == (True, False, ["a.safetensors"])
    assert data["target"]["pattern"] == "M-[*E]"
    renamed = {entry["name"]: entry["sources"] for entry in data["mapping"]}
    assert renamed["decoder.layers.2.mlp.router.weight"] == ["decoder.layers.3.mlp.router.weight"]
    assert renamed.keys() == load_file(tmp_path / "a.safetensors").keys()


def test_a_dry_run_writes_nothing(small, tmp_path):
    done = convert(small, tmp_path / "x" / "a.safetensors", "fused", dry_run=True)
    assert (done.dry_run, done.verified, done.files) == (True, False, ())
    assert not (tmp_path / "x").exists()
    made = convert(small, tmp_path / "a.safetensors", "fused")
    assert done.mapping == made.mapping
    assert {entry.name for entry in done.mapping} == load_file(tmp_path / "a.safetensors").keys()


def test_progress_goes_from_nothing_to_all(small, tmp_path):
    told: list[tuple[int, int]] = []
    done = convert(small, tmp_path / "a.safetensors", progress=lambda so_far, total: told.append((so_far, total)))
    assert [so_far for so_far, _ in told] == sorted(so_far for so_far, _ in told)
    assert told[-1] == (2 * done.target.nbytes, 2 * done.target.nbytes)


REFUSALS = [
    ({"to": "gpt"}, r"cannot become a GPT model's: .*its Mamba-2 sub-layer has no place"),
    ({"to": "fused", "format": "torch_dist"}, "the stored keys of a fused model are canonical by design"),
    (
        {"to": "fused", "pattern": "[M-]*-"},
        r"\[M-\]\*- is not a pattern of this checkpoint: sub-layer 3 is mixture of experts",
    ),
    ({"to": "canonical", "pattern": "[M-]*E"}, "the canonical layout knows no brackets"),
    ({"to": "canonical", "pattern": "M-*-"}, r"M-\*- is not a pattern of this checkpoint, which is M-\*E$"),
    ({"to": "nonsense"}, "to must be one of canonical, fused, gpt, grouped, not 'nonsense'"),
    ({"to": "canonical", "format": "zip"}, "format must be one of safetensors, torch_dist"),
    ({"to": "canonical", "names": "apex"}, "names must be one of te, local"),
    ({"to": "canonical", "link": True}, "a safetensors file holds names and data in one"),
    ({"to": "canonical", "link": True, "format": "torch_dist"}, "only torch_dist data files can be linked"),
]


@pytest.mark.parametrize(("asked", "said"), REFUSALS)
def test_what_cannot_be_is_refused_with_the_reason(small, tmp_path, asked, said):
    with pytest.raises(WorkbenchError, match=said):
        convert(small, tmp_path / "a", **asked)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.pt", "a.json"])
def test_other_formats_are_not_written(small, tmp_path, name):
    with pytest.raises(WorkbenchError, match="safetensors and torch_dist are written, nothing else"):
        convert(small, tmp_path / name)


def test_a_folder_is_no_file(small, tmp_path):
    with pytest.raises(WorkbenchError, match="torch_dist is a folder"):
        convert(small, tmp_path / "a.safetensors", format="torch_dist")


def test_names_of_no_layout(tmp_path):
    with pytest.raises(WorkbenchError, match="its names are of no layout that is converted here"):
        convert({"a": torch.ones(2), "b": torch.ones(3)}, tmp_path / "a.safetensors")


def test_links_only_where_nothing_but_keys_changes(megatron_saves, tmp_path):
    with pytest.raises(
        WorkbenchError, match=r"tensors are stored in other pieces in the canonical layout, such as decoder\."
    ):
        convert(megatron_saves("gpt in layers"), tmp_path / "a", link=True)
    assert list(tmp_path.iterdir()) == []


def test_where_a_link_is_impossible(megatron_saves, tmp_path, monkeypatch):
    def refusing(*_arguments):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refusing)
    with pytest.raises(WorkbenchError, match="cannot be linked there: Invalid cross-device link; leave --link out"):
        convert(megatron_saves("bf16"), tmp_path / "a", link=True)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------ source and target apart


def test_the_source_is_never_the_target(small, megatron_saves, tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file.safetensors"
    convert(megatron_saves("bf16"), folder)
    convert(small, file)
    (tmp_path / "hard.safetensors").hardlink_to(file)
    (tmp_path / "set").mkdir()
    convert(small, tmp_path / "set", force=True)
    (tmp_path / "alias").symlink_to(folder)
    cases = [
        (folder, folder, "is the source"),
        (folder, folder / "inside", "lies in the source"),
        (folder, tmp_path / "alias" / "inside", "lies in the source"),
        (file, file, "is the source"),
        (file, tmp_path / "hard.safetensors", "is the source"),
        (tmp_path / "set", tmp_path / "set" / "model.safetensors", "is the source|lies in the source"),
        (tmp_path / "set" / "model.safetensors", tmp_path / "set", "the source lies in"),
        (folder, tmp_path / "alias", "is a symbolic link"),
    ]
    before = digest(tmp_path)
    for source, target, said in cases:
        with pytest.raises(WorkbenchError, match=said):
            convert(source, target, force=True)
    assert digest(tmp_path) == before


def test_an_existing_target_needs_force(small, tmp_path):
    convert(small, tmp_path / "a.safetensors", "fused")
    with pytest.raises(WorkbenchError, match=r"exists; give another path, or --force"):
        convert(small, tmp_path / "a.safetensors")
    convert(small, tmp_path / "a.safetensors", force=True)
    assert differing(load_file(tmp_path / "a.safetensors"), load_file(small)) == []


# ------------------------------------------------------------------------------------ what was written is read again


@pytest.mark.parametrize("format", ["safetensors", "torch_dist"])
def test_one_wrong_bit_is_found_and_the_result_removed(small, tmp_path, monkeypatch, format):
    convert(small, tmp_path / "old.safetensors")
    verify = converting._verify

    def after_damage(plan, way, place, done):
        # The last tensor's last bytes; a zip's directory lies behind them in the other format.
        file = (
            place
            if place.is_file()
            else next(iter(sorted(place.glob("*.distcp"))))
            if format == "torch_dist"
            else place / "model.safetensors"
        )
        data = bytearray(file.read_bytes())
        at = data.rindex(last[-16:]) if format == "torch_dist" else len(data) - 5
        data[at] ^= 1
        file.write_bytes(data)
        verify(plan, way, place, done)

    opened = open_checkpoint(small)
    last = opened.tensors["output_layer.weight"].bits().tobytes()
    monkeypatch.setattr(converting, "_verify", after_damage)
    with pytest.raises(WorkbenchError, match="what was written is not the source: the contents differ"):
        convert(small, tmp_path / "a", format=format)
    assert [entry.name for entry in tmp_path.iterdir()] == ["old.safetensors"]


def test_a_wrong_name_is_found(small, tmp_path, monkeypatch):
    make = converting.make_plan

    def swapped(*arguments, **options):
        plan = make(*arguments, **options)
        tensors = dict(plan.tensors)
        one, other = "decoder.layers.1.mlp.linear_fc1.weight", "mislaid"
        tensors[other] = tensors.pop(one)
        object.__setattr__(plan, "tensors", tensors)
        return plan

    monkeypatch.setattr(converting, "make_plan", swapped)
    with pytest.raises(WorkbenchError, match=r"what was written is not the source: the meaning of the names differ"):
        convert(small, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_every_kind_is_tried():
    assert set(FOLDERS) <= set(KINDS)


@pytest.mark.parametrize("link", [True, False])
def test_what_a_model_asks_for_and_the_source_lacks_is_in_a_file_beside_its_own(tmp_path, link):
    """A GPT model stores no extra state of its output layer, and a hybrid one asks for it."""
    from tests.gpt_models import gpt, save_gpt  # isort: skip
    from workbench.arch.sizes import ModelSizes

    source = save_gpt(gpt(ModelSizes(activation="gelu")), tmp_path / "gpt", singleton_local_shards=True)
    done = convert(source, tmp_path / "a", link=link)
    assert done.files[:2] == ("__0_0.distcp", "__1_0.distcp")
    key = "output_layer._extra_state"
    assert key not in open_checkpoint(source).objects
    assert key in open_checkpoint(tmp_path / "a").objects
    assert (tmp_path / "a" / "__0_0.distcp").samefile(source / "__0_0.distcp") is link


def test_a_link_to_other_bytes_is_compared_and_found(megatron_saves, tmp_path, monkeypatch):
    """Linked files are not read again where they are the source's; where they are not, every bit is."""
    import shutil

    def copying(source, target):
        shutil.copy(source, target)
        data = bytearray(target.read_bytes())
        opened = open_checkpoint(megatron_saves("bf16")).tensors["output_layer.weight"]
        data[data.index(opened.bits().tobytes())] ^= 1
        target.write_bytes(data)

    monkeypatch.setattr("os.link", copying)
    with pytest.raises(WorkbenchError, match="the contents differ"):
        convert(megatron_saves("bf16"), tmp_path / "a", link=True)
    assert list(tmp_path.iterdir()) == []
