"""What a checkpoint's names mean: `layout_of` finds it out, `arranged` gives the same tensors another layout's names."""

from workbench.checkpoint.layouts.arranging import arranged
from workbench.checkpoint.layouts.finding import layout_of

__all__ = ["arranged", "layout_of"]
