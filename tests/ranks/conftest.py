"""Every test here needs megatron, which workbench.fusion makes importable; it must come first."""

import workbench.fusion  # noqa: F401
