"""`workbench cost`: parameters, FLOPs and memory of a pattern, a preset or a Hugging Face configuration."""

from __future__ import annotations

import argparse

from workbench.cli.output import deliver, json_text, terminal_width
from workbench.cli.targets import target


def run_cost(args: argparse.Namespace) -> int:
    """Print or write the report in the form that was asked for; a FILE.html is HTML unless told otherwise."""
    if args.output not in (None, "-"):
        from workbench.render.files import check_target

        check_target(args.output, args.force)
    found = target(args, "cost")
    from workbench.cost.ranks import Parallel
    from workbench.cost.summary import estimate

    stages = len(found.architecture.pattern.stages)
    cost = estimate(
        found.architecture,
        sequence_length=args.sequence_length,
        micro_batch=args.micro_batch,
        parallel=Parallel(
            tensor=args.tensor_parallel,
            pipeline=args.pipeline_parallel or stages,
            expert=args.expert_parallel,
            data=args.data_parallel,
        ),
        recompute=args.recompute,
        distributed_optimizer=not args.no_distributed_optimizer,
    )
    if args.json:
        deliver(
            json_text({**cost.to_json(), "title": found.title, "notes": list(found.notes)}), args.output, args.force
        )
        return 0
    from workbench.render import html, text
    from workbench.views.cost import document

    page = document(cost, found.title, found.notes)
    as_html = args.html or (args.output or "").lower().endswith((".html", ".htm"))
    deliver(
        html.render(page) if as_html else text.render(page, terminal_width(), unfold=args.details),
        args.output,
        args.force,
    )
    return 0
