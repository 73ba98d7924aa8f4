"""Contracts are about megatron, which workbench.fusion makes importable here; it must come first."""

import workbench.fusion  # noqa: F401
