"""Diffs made by hand, one of every kind, for the tests of the views, the command line and the pages."""

from dataclasses import replace

from workbench.checkpoint.differences import Detail, Diff, Group, Metrics, Side, TensorDifference

LEFT = Side(
    "runs/before", "torch_dist", "canonical", "distributed", "te", "M*-E", 46, 118_272, 236_544, ("2 writers, step 100",)
)  # fmt: skip
RIGHT = replace(LEFT, where="runs/after.safetensors", format="safetensors", pattern="M[*-]E", layout="fused", notes=())

VALUE = TensorDifference(
    "value", "decoder.layers.2.mlp.linear_fc1.weight", "decoder.layers.1.mlp.linear_fc1.weight", 2, None, "-",
    "sub-layer 2, MLP", "3 of 4,096 values differ", "[64, 64] bfloat16", "[64, 64] bfloat16", "layout",
    Metrics(3, 4096, 1.1920928955078125e-07, 2.5e-05, 1, 1 - 2e-9, (3, 17), 0.10009765625, 0.100341796875),
)  # fmt: skip
NAN = TensorDifference(
    "value", "decoder.layers.0.mixer.A_log", None, 0, None, "M", "sub-layer 0, Mamba-2", "", "[8] float32", "[8] float32",
    "name", Metrics(2, 8, 0.5, 0.25, 4_194_304, 0.97, (1,), "nan", 0.25, (1, 0, 2), (0, 1, 0)),
)  # fmt: skip
ZERO = TensorDifference(
    "value", "decoder.layers.0.mixer.dt_bias", None, 0, None, "M", "sub-layer 0, Mamba-2", "", "[8] float32", "[8] float32",
    "name", Metrics(1, 8, 0.0, 0.0, 0, 1.0, (5,), -0.0, 0.0),
)  # fmt: skip
DTYPE = TensorDifference(
    "dtype", "embedding.word_embeddings.weight", None, None, None, None, "embedding", "bfloat16 against float32",
    "[256, 64] bfloat16", "[256, 64] float32", "name", Metrics(0, 16384, 0.0, 0.0, None, 1.0),
)  # fmt: skip
SHAPE = TensorDifference(
    "shape", "decoder.layers.3.mlp.router.weight", None, 3, None, "E", "sub-layer 3, MoE",
    "[4, 64] against [64, 4]; the right is the left transposed",
    "[4, 64] float32", "[64, 4] float32",
)  # fmt: skip
MISSING = TensorDifference(
    "missing", "decoder.layers.1.self_attention.linear_qkv.bias", None, 1, None, "*", "sub-layer 1, self-attention", "",
    "[96] bfloat16",
)  # fmt: skip
EXTRA = TensorDifference(
    "extra", "mtp.layers.0.eh_proj.weight", None, None, 0, None, "MTP depth 1, its projection and norms", "", "",
    "[64, 128] bfloat16",
)  # fmt: skip
OBJECT = TensorDifference("object", "decoder.layers.1.self_attention.core_attention._extra_state", None, 1, None, "*",
    "sub-layer 1, self-attention", "12 bytes and 20 bytes")  # fmt: skip
MOVED = TensorDifference(
    "renamed", "decoder.layers.0.norm.weight", "decoder.layers.0.norm.scale", 0, None, "M", "sub-layer 0, Mamba-2",
    "the same bits under another name", "[64] float32", "[64] float32", "content",
)  # fmt: skip
RENAMED = TensorDifference(
    "renamed", "decoder.layers.2.pre_mlp_layernorm.weight", "decoder.layers.2.pre_mlp_layernorm.weight", 2, None, "-",
    "sub-layer 2, MLP", "", "[64] float32", "[64] float32", "layout",
    written="decoder.layers.1.pre_mlp_layernorm.weight",
)  # fmt: skip
ALL = (MISSING, EXTRA, SHAPE, DTYPE, NAN, VALUE, ZERO, OBJECT, MOVED, RENAMED)


def group(place, name, outcome, worst, members=None, symbol=None, tensors=1, elements=4096):
    return Group(
        place, symbol, name, outcome, tensors, elements, worst, (worst,) if members is None and worst is not None else members or ()
    )  # fmt: skip


def look(name):
    """What an engine finds when it looks closely at a pair."""
    found = next(entry for entry in ALL if entry.name == name)
    heat = tuple(
        tuple(round((row * column % 7) / 7, 2) if row > 4 else 0.0 for column in range(16)) for row in range(12)
    )
    return Detail(
        name, found.metrics, ((None, found.metrics.elements - found.metrics.mismatched), (-9, 1), (-8, 0), (-7, 2)), heat, 4, 4,
        (((3, 17), "0.10009765625", "0.100341796875"), ((0, 2), "1", "1.0078125")),
    )  # fmt: skip


DIFFERENT = Diff(
    LEFT,
    RIGHT,
    identical=False,
    same_names=False,
    compared=True,
    sentences=("Sub-layers 1 and 2 are one block on the right: that renames tensors and changes none.",),
    differences=ALL,
    groups=(
        group("sub-layer 1", "self_attention.linear_qkv.bias", "missing", 0, symbol="*"),
        group("MTP depth 1", "eh_proj.weight", "extra", 1),
        group("sub-layer 3", "mlp.router.weight", "shape", 2, symbol="E"),
        group("embedding", "word_embeddings.weight", "dtype", 3),
        group("sub-layer 0", "mixer.A_log", "value", 4, symbol="M"),
        group("sub-layer 2", "mlp.linear_fc1.weight", "value", 5, symbol="-"),
        group("sub-layer 0", "mixer.dt_bias", "value", 6, symbol="M"),
        group("sub-layer 1", "self_attention.core_attention._extra_state", "object", 7, symbol="*"),
        group("sub-layer 0", "norm.weight", "renamed", 8, symbol="M"),
        group("sub-layer 2", "pre_mlp_layernorm.weight", "renamed", 9, symbol="-"),
        group("sub-layers 0–3", "norm.weight", "equal", None, tensors=36),
    ),
    counts={"equal": 36, "missing": 1, "extra": 1, "renamed": 2, "shape": 1, "dtype": 1, "value": 3, "object": 1,
            "tensors": 46, "elements": 118_272},
    tolerance="bitwise",
    seconds=0.25,
    ignored=("rng_state",),
    environment={"workbench": "0.1.0", "numpy": "2.5.0"},
    look=look,
)  # fmt: skip
IDENTICAL = replace(
    DIFFERENT, right=replace(LEFT, where="runs/copy"), identical=True, same_names=True, sentences=(), differences=(), ignored=(),
    groups=(group("sub-layers 0–3", "norm.weight", "equal", None, tensors=46),), counts={"equal": 46, "tensors": 46, "elements": 118_272},
)  # fmt: skip
OTHER_NAMES = replace(
    IDENTICAL, right=RIGHT, same_names=False, differences=tuple(
        replace(
            RENAMED, name=f"decoder.layers.{index}.mlp.weight", written=f"decoder.layers.{index}.mlp.weight",
            other_name=f"decoder.layers.{index // 2}.mlp.weight", sublayer=index,
        )
        for index in range(120)
    ), groups=(group("sub-layers 0–119", "mlp.weight", "renamed", 0, tuple(range(120)), "-", 120),),
    counts={"renamed": 120, "equal": 0, "tensors": 120, "elements": 491_520},
)  # fmt: skip
NAMES_ONLY = replace(IDENTICAL, identical=False, compared=False)
MANY = replace(
    DIFFERENT, differences=tuple(
        replace(
            VALUE, name=f"decoder.layers.{index}.mlp.linear_fc1.weight", other_name=None, sublayer=index, by="name",
            place=f"sub-layer {index}, MLP",
        )
        for index in range(5000)
    ), groups=tuple(group(f"sub-layer {index}", "mlp.linear_fc1.weight", "value", index, symbol="-") for index in range(5000)),
    counts={"value": 5000, "equal": 5000, "tensors": 10_000, "elements": 20_480_000}, look=None,
)  # fmt: skip
