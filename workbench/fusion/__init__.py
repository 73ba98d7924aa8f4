"""Fused models out of megatron-core's own modules. Every module here may import megatron, because `upstream` comes first."""

import workbench.fusion.upstream  # noqa: F401  (it makes megatron importable on a host without CUDA)
