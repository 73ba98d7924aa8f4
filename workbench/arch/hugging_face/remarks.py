"""Fields that change what a model computes and have no place in a pattern and sizes: each becomes a sentence. Pure."""

from __future__ import annotations

import math

from workbench.arch.hugging_face.config import Config

# Field, the value at which it does nothing, what it does otherwise.
FACTORS = (
    ("embedding_multiplier", 1.0, "The embedding is multiplied by {:g}."),
    ("residual_multiplier", 1.0, "What a sub-layer adds to the residual stream is multiplied by {:g}."),
    ("logits_scaling", 1.0, "Logits are divided by {:g}."),
    ("routed_scaling_factor", 1.0, "The sum of the routed experts is multiplied by {:g}."),
    ("router_jitter_noise", 0.0, "The router's input has noise of {:g} in training."),
    ("z_loss_coefficient", 0.0, "A z-loss of {:g} on the logits is added in training."),
    ("final_logit_softcapping", 0.0, "Logits are capped softly at {:g}."),
    ("attn_logit_softcapping", 0.0, "Attention scores are capped softly at {:g}."),
)


def remark(config: Config) -> None:
    """Say what any family's file may hold."""
    for name, neutral, sentence in FACTORS:
        if config.given(name) and (value := config.number(name)) != neutral:
            config.say(sentence.format(value))
    if config.given("n_group") and config.given("topk_group") and (groups := config.whole("n_group")) > 1:
        config.say(f"Experts are chosen from {config.whole('topk_group')} of {groups} groups of them.")
    if config.given("scoring_func") and config.text("scoring_func") == "sigmoid":
        config.say("The router scores experts with a sigmoid.")
    if config.given("norm_topk_prob") and not config.flag("norm_topk_prob"):
        config.say("The weights of the chosen experts are not normalised to a sum of 1.")
    if config.given("residual_in_fp32") and config.flag("residual_in_fp32"):
        config.say("The residual stream is in FP32.")
    if config.given("quantization_config"):
        config.say("The weights are stored quantised; the sizes are those of the model before that.")


def attention_scale(config: Config, head_dim: int) -> None:
    """Say that scores are not divided by the square root of the head's width."""
    if config.given("attention_multiplier"):
        scale = config.number("attention_multiplier")
        if not math.isclose(scale, head_dim**-0.5, rel_tol=1e-6):
            config.say(f"Attention scores are multiplied by {scale:g} instead of 1/√{head_dim}.")


def step_limit(config: Config) -> None:
    """Say that Mamba's step size is limited; (0, infinity) is no limit."""
    if config.given("time_step_limit") and not config.unlimited("time_step_limit"):
        config.say("Mamba's step size is limited, which Megatron's mixer does not do.")
