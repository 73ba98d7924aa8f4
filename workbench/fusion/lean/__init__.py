"""Fused blocks run without the host work that changes nothing. The arithmetic, and every bit of it, is upstream's.

A `TransformerLayer` is general: its forward asks in every call for what a training step on one device never has (offload
managers, fp8 and inference branches, profiler ranges, identity modules, reductions over one rank). On small sizes that is a
third of the time. Here a fused block is looked at once (`block.plan_block`); when all that upstream would do beside
arithmetic is known to do nothing, the stack runs the arithmetic itself (`stack.LeanForward`), out of the same modules and
parameters. Otherwise the block's own forward runs, and `stack.lean_blocks` says why.

`conditions` says when, `watch` notices when that changes, `linear`, `attention`, `mlp` and `mamba` are the arithmetic.
"""
