from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.render import scene, text
from workbench.views.architecture import kinds_table, mimebundle, weights


def test_whole_text():
    assert (
        mimebundle(Architecture("M[ME]/[*-]"))["text/plain"].replace("\u00a0", " ")
        == """\
M[ME]/[*-]

172,016 parameters · 102,064 active for a token · 45,376 of them in MTP

2 blocks · 3 sub-layers · 1 fused pair · 1 stage · 1 MTP depth

  stage 0     MTP
  M [M E]  ┊  [* -]
  0  1 2       0 1

M Mamba-2 ×2 · * self-attention ×1 in MTP · - MLP ×1 in MTP · E mixture of experts ×1

Parameters by kind. Active: what one token of the main model goes through; of experts, the ones it
is sent to.
  kind                    sub-layers    each  parameters  active  share
  ──────────────────────  ──────────  ──────  ──────────  ──────  ──────────────────
  embedding                                        8,192   8,192  █▍         4.8 %
  Mamba-2                          2  30,360      60,720  60,720  ██████████ 35.3 %
  mixture of experts               1  49,472      49,472  24,896  ████████▏  28.8 %
  final norm                                          64      64  ▏          < 0.1 %
  output layer                                     8,192   8,192  █▍         4.8 %
  multi-token prediction                          45,376       0  ███████▌   26.4 %"""
    )


def test_every_kind_has_its_weights():
    parts = weights(Architecture("ME/*", ModelSizes(moe_router_bias=True)))
    assert [part.summary for part in parts] == [
        "embedding: 1 tensor",
        "Mamba-2 M: 9 tensors",
        "mixture of experts E: 11 tensors",
        "final norm: 1 tensor",
        "output layer: 1 tensor",
        "MTP projection: 4 tensors",
        "self-attention *: 3 tensors",
    ]
    said = text.render(scene.Document("weights", parts), 120, unfold=True)
    for line in (
        "mixer.in_proj.layer_norm_weight  norm.weight                 64  bfloat16        64",
        "mlp.experts.linear_fc1.weight{n}  mlp.experts.local_experts.{n}.linear_fc1.weight  4 × 128×64  bfloat16     32.8K",
        "mlp.router.expert_bias            mlp.router.expert_bias                                    4  float32   a buffer",
        "Names within mtp.layers.0.mtp_model_layer.layers.0.",
    ):
        assert line in said


def test_nothing_is_tied_twice():
    rows = kinds_table(Architecture("M", ModelSizes(tied_embeddings=True))).rows
    assert [(row[0], row[3]) for row in rows] == [
        ("embedding", "8,192"),
        ("Mamba-2", "30,360"),
        ("final norm", "64"),
        ("output layer", "0"),
    ]


def test_a_notebook_shows_a_picture_and_tables():
    shown = mimebundle(Architecture("M[*-]"))["text/html"]
    assert (shown.count("<img"), shown.count("<table>")) == (1, 7)
