"""`convert` asked and answered: formats, refusals, links, a wrong bit in what was written; targets are never half there."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoint.megatron_checkpoints import KINDS
from tests.checkpoint.test_convert import FOLDERS, differing, digest
from workbench.checkpoint import convert as converting
from workbench.checkpoint.convert import convert
from workbench.checkpoint.converting import write_torch_dist as folder_writer
from workbench.checkpoint.converting.write_safetensors import INDEX
from workbench.checkpoint.opening import open_checkpoint
from workbench.errors import WorkbenchError


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
