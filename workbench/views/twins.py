"""Twins that were trained in lockstep, as a scene: whether any number of theirs differs, and both curves over each other."""

from __future__ import annotations

from workbench.compare.training.twin_runs import Twins
from workbench.render import notebook, scene, text
from workbench.views.curves import loss_chart
from workbench.views.training import result_table


def verdict(twins: Twins) -> str:
    """One sentence: the same bits, or where the two first differ and how far they come apart."""
    both = f"{twins.left.pattern} and {twins.right.pattern}"
    if twins.identical:
        return f"{both}: every loss and gradient norm of {len(twins.left.steps):,} steps has the same bits"
    return (
        f"{both} differ from step {twins.first_difference}: losses by up to {twins.largest_loss_difference:.3g}, gradient norms by "
        f"up to {twins.largest_grad_norm_difference:.3g}"
    )


def mimebundle(twins: Twins) -> dict[str, str]:
    """What a notebook shows for them."""
    outcome: scene.Outcome = "pass" if twins.identical else "fail"
    banner = scene.Banner(scene.Status(outcome, "IDENTICAL" if twins.identical else "DIFFERENT"), verdict(twins))
    shown = scene.Document(
        "Twins in lockstep", (banner, result_table(twins.left), loss_chart([twins.left, twins.right]))
    )
    return {"text/plain": text.render(shown).rstrip("\n"), "text/html": notebook.render(shown)}
