"""Convolution, norms and experts on the CPU, forward and backward, beside the usual way to compute them: a Markdown table.

    python benchmarks/small_kernels.py [--quick] [--threads 2] [--rounds 15] [--clock wall|process]

The usual way is what Hugging Face transformers runs without CUDA kernels (its own functions and modules, and for Mamba's
convolution the line of its mixer) and, for the experts, megatron-core's `SequentialMLP`, in the same `MoELayer` with the same router
and dispatcher. Contestants take turns in one process on the same float32 inputs, laid out as megatron-core's mixers hold
them. Time is that of forward and backward together, median and fastest – slowest of the rounds. Peak memory is followed
allocation by allocation. Results must agree, and the kernels must agree with their definitions in float64.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.qwen3_next.modeling_qwen3_next import l2norm as hf_l2norm
from transformers.models.zamba2.modeling_zamba2 import Zamba2RMSNormGated

import workbench.fusion.upstream  # noqa: F401  (before megatron-core: it finds kernels and compiles nothing)
from workbench.arch.sizes import ModelSizes
from workbench.compare.throughput.memory import peak_bytes
from workbench.fusion import runtime
from workbench.fusion.config import transformer_config
from workbench.fusion.model import build_model, model_arguments
from workbench.kernels.conv import causal_conv, causal_conv_plain
from workbench.kernels.norm import l2norm, l2norm_plain, rms_norm_gated, rms_norm_gated_plain
from workbench.pattern.model import Pattern

# isort: split
from megatron.core.transformer.moe.experts import SequentialMLP
from megatron.core.transformer.moe.moe_layer import MoELayer

AGREE, DEFINED = (
    1e-4,
    1e-10,
)  # largest difference over largest value: between contestants in float32, to definitions in float64
WIDTH, PACKED = 4, 100  # taps of the convolution; tokens of a packed sequence

Step = Callable[[], list[Tensor]]  # output and gradients
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "process": time.process_time}


@dataclass(frozen=True)
class Contest:
    """`ours` and the usual way on the same inputs. `defined`: how far ours is from its definition in float64, None for modules."""

    name: str
    ours: Step
    usual: Step
    defined: float | None


def apart(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    pairs = zip(left, right, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for a, b in pairs)


def step(run: Callable[..., Tensor], leaves: Sequence[Tensor], dy: Tensor) -> Step:
    def both_ways() -> list[Tensor]:
        y = run(*leaves)
        return [y.detach(), *torch.autograd.grad(y, leaves, dy)]

    return both_ways


def contest(
    name: str,
    ours: Callable[..., Tensor],
    usual: Callable[..., Tensor],
    plain: Callable[..., Tensor],
    leaves: Sequence[Tensor],
    some: Sequence[Tensor] | None = None,
) -> Contest:
    """Random gradients for the output; `leaves` are what gradients are taken of. `some` (all by default) meet the definition."""
    for leaf in leaves:
        leaf.requires_grad_()
    dy = torch.randn(ours(*leaves).shape)
    wide = [leaf.detach().double().requires_grad_() for leaf in some or leaves]
    wide_dy = torch.randn(ours(*wide).shape, dtype=torch.float64)
    defined = apart(step(ours, wide, wide_dy)(), step(plain, wide, wide_dy)())
    return Contest(name, step(ours, leaves, dy), step(usual, leaves, dy), defined)


def convolutions(rows: int, tokens: int, channels: int) -> Iterator[Contest]:
    """Tokens first, cut out of a wider projection, as both mixers of megatron-core hand them over."""
    projected = torch.randn(rows, tokens, 2 * channels)
    leaves = [
        projected[..., channels // 2 : channels // 2 + channels],
        torch.randn(channels, WIDTH),
        torch.randn(channels),
    ]
    leaves[0] = leaves[0].detach()
    some = [leaves[0][..., :4], *(leaf[:4] for leaf in leaves[1:])]  # channels know nothing of each other
    size = f"[{rows}, {tokens}, {channels}]"

    def hugging_face(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        length = x.shape[1]
        y = F.conv1d(x.transpose(1, 2), weight[:, None], bias, padding=WIDTH - 1, groups=len(weight))
        return F.silu(y[..., :length]).transpose(1, 2)

    def of(kernel: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
        return lambda x, weight, bias: kernel(x.transpose(1, 2), weight, bias, activation="silu", **options).transpose(
            1, 2
        )

    yield contest(f"convolution, silu {size}", of(causal_conv), hugging_face, of(causal_conv_plain), leaves, some)
    if tokens > PACKED:
        index = (torch.arange(tokens) // PACKED).expand(rows, tokens)

        def apiece(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return torch.cat([hugging_face(part, weight, bias) for part in x.split(PACKED, dim=1)], dim=1)

        packed, plain = of(causal_conv, seq_idx=index), of(causal_conv_plain, seq_idx=index)
        yield contest(f"the same, packed, {PACKED} tokens a sequence {size}", packed, apiece, plain, leaves, some)


def norms(rows: int, channels: int, group: int) -> Iterator[Contest]:
    usual = Zamba2RMSNormGated(channels, group, eps=1e-5)
    leaves = [torch.randn(rows, channels), torch.randn(channels), torch.randn(rows, channels)]
    size = f"[{rows}, {channels}] groups of {group}"

    def hugging_face(x: Tensor, weight: Tensor, *z: Tensor) -> Tensor:
        return torch.func.functional_call(usual, {"weight": weight}, (x, *z))  # type: ignore[no-any-return]

    def of(kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *given: kernel(*given, group_size=group, norm_before_gate=False)

    yield contest(f"gated RMSNorm {size}", of(rms_norm_gated), hugging_face, of(rms_norm_gated_plain), leaves)
    yield contest(
        f"RMSNorm without gate {size}", of(rms_norm_gated), hugging_face, of(rms_norm_gated_plain), leaves[:2]
    )
    heads = [torch.randn(rows * channels // 64, 64)]
    yield contest(
        f"L2 norm {list(heads[0].shape)}", l2norm, lambda x: hf_l2norm(x, dim=-1, eps=1e-6), l2norm_plain, heads
    )


def experts(hidden: int, count: int, tokens: int) -> Contest:
    """A whole `MoELayer` with its router, two experts a token, gated experts as wide as the model."""
    runtime.forget_models()
    sizes = ModelSizes(hidden_size=hidden, moe_ffn=hidden, moe_experts=count, moe_topk=2, max_sequence_length=tokens)
    pattern = Pattern("E")
    model = build_model(
        "E", transformer_config(pattern, sizes), seed=1, backend="local", **model_arguments(pattern, sizes)
    )
    (layer,) = (module for module in model.modules() if isinstance(module, MoELayer))
    at_once = type(layer.experts)
    x, dy = torch.randn(tokens, 1, hidden).requires_grad_(), torch.randn(tokens, 1, hidden)
    leaves = [x, *layer.parameters()]

    def of(kind: type) -> Step:
        def run(*_: Tensor) -> Tensor:
            layer.experts.__class__ = kind
            return layer(x)[0]  # type: ignore[no-any-return]

        return step(run, leaves, dy)

    return Contest(f"MoE layer, {count} experts, [{tokens}, {hidden}]", of(at_once), of(SequentialMLP), None)


def contests(quick: bool) -> Iterator[Contest]:
    yield from convolutions(2, 16, 128)
    yield from convolutions(1, *((512, 512) if quick else (2048, 3072)))
    yield from norms(16, 128, 128)
    yield from norms(*((512, 512, 64) if quick else (2048, 1024, 128)))
    for size in [(64, 4, 32), (64, 8, 32)] + ([] if quick else [(64, 32, 256), (256, 8, 2048), (256, 64, 2048)]):
        yield experts(*size)


def line(contest: Contest, rounds: int, clock: Callable[[], float]) -> str:
    """Measures and writes a row; `SystemExit` where results differ."""
    far = apart(contest.ours(), contest.usual())
    if far > AGREE or (contest.defined is not None and contest.defined > DEFINED):
        raise SystemExit(f"{contest.name}: the results differ by {far:.1e} and {contest.defined} of the largest value")

    def seconds(run: Step, repeats: int) -> float:
        start = clock()
        for _ in range(repeats):
            run()
        return (clock() - start) / repeats

    runs = (contest.ours, contest.usual)
    repeats = [max(1, round(0.02 / max(1e-6, seconds(run, 2)))) for run in runs]
    spent: list[list[float]] = [[], []]
    for _ in range(rounds):
        for times, run, count in zip(spent, runs, repeats, strict=True):
            times.append(1000 * seconds(run, count))
    cells = [f"{statistics.median(times):.3g} ({min(times):.3g} – {max(times):.3g})" for times in spent]
    ratio = statistics.median(spent[1]) / statistics.median(spent[0])
    peaks = [f"{peak_bytes(run) / 2**20:.2f}" for run in runs]
    defined = "–" if contest.defined is None else f"{contest.defined:.0e}"
    return f"| {' | '.join([contest.name, *cells, f'{ratio:.2f}', *peaks, f'{far:.0e}', defined])} |"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="small sizes, three rounds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=None, help="15, or 3 with --quick")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args(argv)
    runtime.start()
    torch.set_num_threads(options.threads)
    torch.manual_seed(7)
    rounds = options.rounds or (3 if options.quick else 15)
    head = "forward and backward, workbench ms, usual way ms, times as fast, peak MiB workbench, peak MiB usual way"
    cells = [
        *head.replace("forward and backward", "forward + backward").split(", "),
        "apart",
        "from the definition, float64",
    ]
    print(f"| {' | '.join(cells)} |\n|---|{'---:|' * (len(cells) - 1)}")
    for each in contests(options.quick):
        print(line(each, rounds, CLOCKS[options.clock]), flush=True)
    print(
        f"\nMedian (fastest – slowest) of {rounds} rounds; {options.threads} threads, {options.clock} time, "
        f"{platform.processor() or platform.machine()}, {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {version('transformers')}, megatron-core {version('megatron-core')}"
    )


if __name__ == "__main__":
    main()
