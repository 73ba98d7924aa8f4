"""What runs inside of the selected block, as a picture: its layers unfused, and where they make a pair, the block beside them.

Pure. Where there is no Graphviz to lay it out, the reason stands in its place and the rest of the editor works.
"""

from __future__ import annotations

from base64 import b64encode

from workbench.errors import WorkbenchError
from workbench.pattern.blocks import Block
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import can_fuse
from workbench.render.graph import svg
from workbench.views.graph import block_graph

WIDTH = 860  # units: beside JupyterLab's file list on a laptop


def inside(pattern: Pattern, selected: tuple[int, ...] | None, mtp: bool) -> dict[str, str]:
    """`light` and `dark` as data addresses of SVG, `said` in words; `problem` instead; empty where nothing is selected."""
    blocks = (pattern.mtp.blocks if pattern.mtp else ()) if mtp else pattern.blocks
    block = next((block for block in blocks if selected and selected[0] in block.sublayers), None)
    if block is None:
        return {}
    try:
        drawn = block_graph(pattern, sublayers=_pair(blocks, block), mtp=mtp)
        light, dark = svg(drawn, "light", WIDTH), svg(drawn, "dark", WIDTH)
    except WorkbenchError as error:
        return {"problem": str(error)}
    return {"light": _address(light), "dark": _address(dark), "said": f"{drawn.title}. {drawn.description}"}


def _pair(blocks: tuple[Block, ...], block: Block) -> tuple[int, ...]:
    """The block's sub-layers; of one that stands alone, with the neighbour that it could be fused with."""
    if block.fused:
        return block.sublayers
    for first, second in ((block.index, block.index + 1), (block.index - 1, block.index)):
        if not (first >= 0 and second < len(blocks)):
            continue
        one, other = blocks[first], blocks[second]
        lone = not (one.fused or other.fused) and one.stage == other.stage
        if lone and can_fuse(one.symbols, other.symbols):
            return one.sublayers + other.sublayers
    return block.sublayers


def _address(picture: str) -> str:
    return f"data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}"
