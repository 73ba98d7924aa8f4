"""Which sizes each layer kind cannot do without. Pure."""

from __future__ import annotations

from workbench.arch.sizes import ModelSizes, SizesError
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import symbol_of

_LATENT = ("num_attention_heads", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")

NEEDS: dict[str, tuple[str, ...]] = {
    "M": ("mamba_state_dim", "mamba_head_dim", "mamba_num_groups"),
    "G": ("gdn_num_key_heads", "gdn_num_value_heads", "gdn_key_head_dim", "gdn_value_head_dim", "gdn_conv_kernel"),
    "*": ("num_attention_heads",),
    "+": _LATENT,
    # The indexer reads the compressed queries: without compression there is nothing to read.
    "D": (*_LATENT, "q_lora_rank", "dsa_index_heads", "dsa_index_head_dim", "dsa_index_topk"),
    "-": ("ffn_hidden_size", "activation"),
    "E": ("moe_experts", "moe_topk", "moe_ffn", "activation"),
}


def symbols_in(pattern: Pattern) -> set[str]:
    """Every symbol of the main pattern and of the MTP pattern."""
    return {symbol for symbol, number in pattern.symbol_counts.items() if number}


def check_needs(pattern: Pattern, sizes: ModelSizes) -> None:
    """Raise `SizesError` for the first layer kind of the pattern whose sizes are `None`; it names all of them."""
    for symbol in sorted(symbols_in(pattern)):
        missing = [name for name in NEEDS[symbol] if getattr(sizes, name) is None]
        if missing:
            raise SizesError(
                f"{symbol!r} ({symbol_of(symbol).name}) needs {', '.join(missing)}, which the sizes leave out"
            )
