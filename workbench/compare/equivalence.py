"""Are two fusions of one pattern the same model? Build both, run every check in order, and return the verdict.

The checks are listed once, in `CHECKS`. A check that could not run says why and is no pass.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_started = time.perf_counter()

import torch  # noqa: E402  (the seconds that these imports take are part of the verdict)

from workbench.arch.sizes import ModelSizes  # noqa: E402
from workbench.compare.environment import machine, torch_threads  # noqa: E402
from workbench.compare.model_checks import (  # noqa: E402
    check_fused_path,
    check_gradients,
    check_initial_weights,
    check_logits,
    check_loss,
    check_sublayers,
)
from workbench.compare.session import Session, Settings, Side, with_dropout  # noqa: E402
from workbench.compare.tensors import Tolerance, digest  # noqa: E402
from workbench.compare.training_checks import (  # noqa: E402
    check_left_to_right,
    check_resume,
    check_right_to_left,
    check_training,
)
from workbench.compare.verdict import NO_TWINS, Check, Twin, Verdict  # noqa: E402
from workbench.errors import WorkbenchError  # noqa: E402
from workbench.fusion import runtime  # noqa: E402
from workbench.fusion.modules import built_modules  # noqa: E402
from workbench.fusion.stack_spec import choose_backend  # noqa: E402
from workbench.pattern.model import Pattern  # noqa: E402

_IMPORT_SECONDS = time.perf_counter() - _started

CheckFunction = Callable[[Session], Check]

CHECKS: tuple[tuple[str, CheckFunction], ...] = (
    ("sublayers", check_sublayers),
    ("initial_weights", check_initial_weights),
    ("fused_path", check_fused_path),
    ("logits", check_logits),
    ("loss", check_loss),
    ("gradients", check_gradients),
    ("training", check_training),
    ("checkpoint_left_to_right", check_left_to_right),
    ("checkpoint_right_to_left", check_right_to_left),
    ("resume", check_resume),
)


def verify(
    pattern: Pattern | str,
    against: Pattern | str | None = None,
    *,
    sizes: ModelSizes | None = None,
    steps: int = 5,
    seed: int = 1234,
    dtype: str = "fp32",
    dropout: float | None = None,
    backend: str = "auto",
    atol: float = 0.0,
    rtol: float = 0.0,
    threads: int | None = 1,
    progress: Callable[[Check], None] | None = None,
) -> Verdict:
    """Compare the model of `pattern` with that of `against` (default: the same pattern, nothing fused).

    `sizes` default to a tiny model; `dropout` replaces both its probabilities when given. `steps` counts optimizer steps.
    Without `atol` and `rtol` everything must be equal to the last bit. `threads` is torch's thread count while the checks
    run (None leaves it): one is fastest at tiny sizes and rules out a reduction order that changes. `progress` is called
    with each check as it is done.

    Raises `PatternError` for a pattern that is none and `WorkbenchError` for sizes that cannot be built; a difference
    between the twins is never an exception.
    """
    start = time.perf_counter()
    left, right = _twin_patterns(pattern, against)
    if steps < 1:
        raise WorkbenchError(f"steps must be at least 1, not {steps}")
    if min(atol, rtol) < 0:
        raise WorkbenchError(f"tolerances must be at least 0, not atol={atol}, rtol={rtol}")
    sizes = with_dropout(sizes or ModelSizes(), dropout)
    settings = Settings(
        sizes=sizes,
        steps=steps,
        seed=seed,
        dtype=dtype,
        backend=choose_backend(backend),
        tolerance=Tolerance(atol, rtol),
        sequence=min(Settings.sequence, sizes.max_sequence_length),
    )
    seconds = {"import": _IMPORT_SECONDS}
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder, torch_threads(threads):
        runtime.require_single_process()
        session = Session.build(left, right, settings, Path(folder))
        seconds["build"] = time.perf_counter() - start
        twins = _twin(session.left), _twin(session.right)
        checks = tuple(_run(session, progress))
        environment = _environment(session)
    seconds["checks"] = sum(check.seconds for check in checks)
    seconds["total"] = _IMPORT_SECONDS + time.perf_counter() - start
    return Verdict(*twins, checks, environment, seconds)


def _twin_patterns(pattern: Pattern | str, against: Pattern | str | None) -> tuple[Pattern, Pattern]:
    left = Pattern(pattern)
    right = left.unfused() if against is None else Pattern(against)
    for each in (left, right):
        if not each.sublayers:
            raise WorkbenchError("an empty pattern has no layers: there is nothing to verify")
    return left, right


def _run(session: Session, progress: Callable[[Check], None] | None) -> Iterator[Check]:
    blocked = ""
    for name, function in CHECKS:
        start = time.perf_counter()
        check = Check(name, _question(function), None, blocked) if blocked else _attempt(name, function, session)
        check = Check(**{**vars(check), "seconds": time.perf_counter() - start})
        if name == "sublayers" and check.passed is False:
            blocked = NO_TWINS
        if progress is not None:
            progress(check)
        yield check


def _attempt(name: str, function: CheckFunction, session: Session) -> Check:
    try:
        return function(session)
    except Exception as error:
        # The verdict must come out whatever one check runs into; what it ran into is in the verdict, as no pass.
        text = str(error).strip().splitlines()
        return Check(
            name, _question(function), None, f"could not run: {type(error).__name__}: {text[0] if text else ''}"
        )


def _question(function: CheckFunction) -> str:
    return (function.__doc__ or "").strip().splitlines()[0]


def _twin(side: Side) -> Twin:
    return Twin(
        pattern=str(side.pattern),
        blocks=len(side.pattern.blocks),
        sublayers=len(side.pattern.sublayers),
        fused=side.pattern.counts["fused"],
        parameters=sum(parameter.numel() for parameter in side.model.parameters()),
        modules=tuple((built.name, f"{built.module} {built.block}") for built in built_modules(side.model)),
    )


def _environment(session: Session) -> dict[str, Any]:
    settings = session.settings
    return {
        **machine(),
        "threads": torch.get_num_threads(),
        "backend": settings.backend,
        "dtype": settings.dtype,
        "seed": settings.seed,
        "steps": settings.steps,
        "batch": settings.batch,
        "sequence": settings.sequence,
        "learning_rate": settings.learning_rate,
        "clip_grad": settings.clip_grad,
        "tolerance": str(settings.tolerance),
        "sizes": settings.sizes.to_json(),
        "digests": {side.label: digest(side.state()) for side in (session.left, session.right)},
    }
