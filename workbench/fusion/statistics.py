"""What megatron logs beside the loss: router and indexer losses a layer, MTP losses a depth. Read from its module-level trackers."""

from __future__ import annotations

from megatron.core.transformer.experimental_attention_variant.dsa import DSAIndexerLossLoggingHelper
from megatron.core.transformer.moe.moe_logging import get_moe_metrics_tracker
from megatron.core.transformer.multi_token_prediction import MTPLossLoggingHelper
from torch import Tensor


def statistics() -> dict[str, Tensor]:
    """Name → values since the last `runtime.forget_models`; float32.

    `moe.<metric>` is [layers], indexed by the canonical index of the `E` it belongs to (megatron counts MTP layers behind
    the main ones), and so is `dsa.indexer_loss` by its `D`; `mtp.<metric>` is [depths].
    """
    found = {f"moe.{name}": entry.values.detach().clone() for name, entry in get_moe_metrics_tracker().metrics.items()}
    for name, values in MTPLossLoggingHelper.tracker.items():
        if isinstance(values, Tensor):
            found[f"mtp.{name.removesuffix('_values')}"] = values.detach().clone()
    if "values" in DSAIndexerLossLoggingHelper.tracker:
        found["dsa.indexer_loss"] = DSAIndexerLossLoggingHelper.tracker["values"].detach().clone()
    return found
