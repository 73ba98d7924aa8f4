"""`workbench cost`: parameters, FLOPs and memory of a model that is named, written as a pattern, or read from a file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from workbench.cli.output import check_output, deliver, deliver_page, json_text
from workbench.cli.targets import target

if TYPE_CHECKING:
    from workbench.arch.architecture import Architecture
    from workbench.cost.summary import Cost


def run_cost(args: argparse.Namespace) -> int:
    """Print or write the report."""
    check_output(args)
    found = target(args, "cost")
    cost = estimated(found.architecture, args)
    if args.json:
        deliver(
            json_text({**cost.to_json(), "title": found.title, "notes": list(found.notes)}), args.output, args.force
        )
        return 0
    from workbench.views.cost import document

    deliver_page(args, document(cost, found.title, found.notes), unfold=args.details)
    return 0


def estimated(architecture: Architecture, args: argparse.Namespace) -> Cost:
    """The cost of an architecture under the ranks and the run that a command line asks for."""
    from workbench.cost.ranks import Parallel
    from workbench.cost.summary import estimate

    return estimate(
        architecture,
        sequence_length=args.sequence_length,
        micro_batch=args.micro_batch,
        parallel=Parallel(
            tensor=args.tensor_parallel,
            pipeline=args.pipeline_parallel or len(architecture.pattern.stages),
            expert=args.expert_parallel,
            data=args.data_parallel,
        ),
        recompute=args.recompute,
        distributed_optimizer=not args.no_distributed_optimizer,
    )
