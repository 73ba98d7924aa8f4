"""The model that is trained where no sizes are given: small enough to learn from source code in minutes on two cores. Pure."""

from workbench.arch.sizes import ModelSizes

TRAINING_SIZES = ModelSizes(
    hidden_size=128,
    num_attention_heads=4,
    num_query_groups=4,
    ffn_hidden_size=256,
    mamba_state_dim=16,
    mamba_head_dim=32,
    mamba_num_groups=1,
    moe_experts=4,
    moe_topk=2,
    moe_ffn=128,
)
