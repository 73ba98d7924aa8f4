"""Made-up verdicts: one that is fine, and one in which everything goes wrong that can."""

from workbench.compare.verdict import Check, Difference, Twin, Verdict

LEFT = Twin(
    "M[*-]", 2, 3, 1, 1310720, (("decoder.layers.0", "MambaLayer M"), ("decoder.layers.1", "TransformerLayer [*-]"))
)
RIGHT = Twin("M*-", 3, 3, 0, 1310720)
ENVIRONMENT = {
    "versions": {"torch": "2.9.0"},
    "backend": "local",
    "seed": 1234,
    "tolerance": "bitwise",
    "sizes": {f"size_{number}": number for number in range(20)},
    "digests": {"left": "0f34", "right": "0f34"},
}
SECONDS = {"import": 8.214, "build": 1.9, "checks": 0.0004}

GOOD = Verdict(
    LEFT,
    RIGHT,
    (
        Check("logits", "Are the logits the same?", True, "2,048 logits: identical bits", {}, 0.412),
        Check("loss", "Is the loss the same?", True, "1 number: identical bits", {}, 0.0021),
    ),
    ENVIRONMENT,
    SECONDS,
)

DIFFERENCES = (
    Difference(
        "decoder.layers.1.self_attention.linear_qkv.weight",
        "sub-layer 1",
        "value",
        "",
        12,
        4096,
        1.1920929e-07,
        2.5e-7,
        2,
        (0, 17),
    ),
    Difference("decoder.layers.0.mixer.A_log", "sub-layer 0, Mamba-2", "nan", "", 1, 8, float("nan"), None, None, (4,)),
)

BAD = Verdict(
    LEFT,
    RIGHT,
    (
        *GOOD.checks,
        Check(
            "first_gradients",
            "Is every gradient the same?",
            False,
            "2 of 61 differ",
            {"differences": 7},
            1.2,
            DIFFERENCES,
        ),
        Check(
            "training",
            "Are all parameters the same?",
            False,
            "1 is missing",
            {"differences": 1},
            2.5,
            (
                Difference(
                    "decoder.<script>alert(1)</script>\x1b[31m", "the whole model", "missing", "only on the left"
                ),
            ),
        ),
        Check("resume", "Can it be resumed?", None, "not run: no disk", {}, 0.0),
    ),
    ENVIRONMENT,
    SECONDS,
)

EMPTY = Verdict(LEFT, RIGHT, ())
