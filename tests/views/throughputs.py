"""Made-up throughput comparisons: a fused step that is faster on the host, and one that cannot be told apart."""

from workbench.compare.throughput.result import PHASES, Interval, Phase, Regime, Throughput, Work

FASTER = Interval(1.1234, 1.1, 1.13)
SAME = Interval(1.001, 0.99, 1.012)
SLOWER = Interval(0.95, 0.94, 0.96)


def regime(name: str, speedups: tuple[Interval, ...], **changes: object) -> Regime:
    """A regime whose phases have these speedups, in order."""
    phases = tuple(
        Phase(phase, Interval(3.4567, 3.4, 3.5), Interval(123.45, 120, 130), speedup)
        for phase, speedup in zip(PHASES, speedups, strict=True)
    )
    values: dict[str, object] = {
        "name": name,
        "sizes": {"hidden_size": 64, "head_dim": None},
        "rows": 1,
        "sequence": 16,
        "threads": 1,
        "trials": 500,
        "equal_steps": 510,
        "loss": 4.896,
        "host_share": 0.968,
        "phases": phases,
        "fused": Work("M[*-]", 2, 10, 2220, 739, None, 231_424, 1),
        "unfused": Work("M*-", 3, 61, 3142, 739, None, 237_568),
    }
    return Regime(**values | changes)  # type: ignore[arg-type]


FOUND = Throughput(
    "M[*-]",
    "M*-",
    (
        regime("host", (FASTER, FASTER, FASTER, SAME, FASTER)),
        regime("compute", (SAME, SLOWER, SAME, SAME, SAME), threads=2, host_share=0.2),
    ),
    {"versions": {"torch": "2.14.1"}, "seed": 1234, "dtype": "fp32"},
)
