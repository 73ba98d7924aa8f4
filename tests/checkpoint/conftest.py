"""Fixtures of the checkpoint tests; what makes them imports torch and megatron only when it is asked."""

from tests.checkpoint.megatron_checkpoints import megatron_saves, ranked_saves

__all__ = ["megatron_saves", "ranked_saves"]
