"""The states of a scan as they go from chunk to chunk, and their gradients as they go back: one product a chunk.

Letters as in `workbench.kernels.ssd`; d counts the chunks of a span.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.kernels.ssd_cuts import Cuts, Span
from workbench.kernels.ssd_span import Chunks


class StatesOnward:
    """From left to right, span by span: S' = exp(s_last) S + Σ exp(s_last − s_k) u_k B_kᵀ.

    `initial` [sequences, b, h, p, n] or None for zeros; `last` of that shape, filled, or None where nobody asks for the last
    states; `kept` [t, b, h, p, n], filled with the states that enter the chunks, or None.
    """

    def __init__(self, cuts: Cuts, initial: Tensor | None, last: Tensor | None, kept: Tensor | None) -> None:
        self._cuts, self._initial, self._last, self._kept = cuts, initial, last, kept
        self._sequence = -1
        self._state: Tensor | None = None

    def enter(self, span: Span, here: Chunks) -> Tensor | None:
        """The states that enter the chunks of the next span [d, b, h, p, n], None where all are zero."""
        cuts = self._cuts
        entering = self._room(span, here) if cuts.carry or self._initial is not None else None
        leaves = [self._last is not None or not cuts.ends(number) for number in span.numbers]
        if any(leaves):
            written = here.shared(here.u, here.to_end()).mT.unflatten(0, (span.count, -1))
            B, whole = here.B.unflatten(0, (span.count, -1)), here.whole()
        for i, number in enumerate(span.numbers):
            if cuts.begins[number]:
                self._sequence += 1
                self._state = None if self._initial is None else self._initial[self._sequence]
            if entering is not None:
                settle(self._state, entering[i])
            if leaves[i]:
                leaving = self._leaving(number, here)
                if self._state is None:
                    torch.bmm(written[i], B[i], out=here.states(leaving))
                else:
                    torch.mul(self._state, whole[i], out=leaving)
                    here.states(leaving).baddbmm_(written[i], B[i])
                self._state = leaving
        return entering

    def _room(self, span: Span, here: Chunks) -> Tensor:
        return here.room_for_states() if self._kept is None else self._kept[span.first : span.first + span.count]

    def _leaving(self, number: int, here: Chunks) -> Tensor:
        """Where the state goes that leaves a chunk: to its place where it has one, so that it need not be copied."""
        if self._cuts.ends(number):
            assert self._last is not None
            return self._last[self._sequence]
        return here.empty_state() if self._kept is None else self._kept[number + 1]


class StatesBack:
    """From right to left: dS = exp(s_last) dS' + Σ exp(s_q) dy_q C_qᵀ.

    `dlast` [sequences, b, h, p, n] or None for zeros; `dinitial` of that shape, filled, or None where nobody asks for it.
    """

    def __init__(self, cuts: Cuts, dlast: Tensor | None, dinitial: Tensor | None) -> None:
        self._cuts, self._dlast, self._dinitial = cuts, dlast, dinitial
        self._sequence = cuts.sequences - 1
        self._dstate: Tensor | None = None

    def leave(self, span: Span, here: Chunks, seen: Tensor | None) -> Tensor | None:
        """The gradients of the states that leave the chunks of the next span [d, b, h, p, n], None where all are zero.

        `seen` is exp(s_q) dy_q [d·b·g, q, r·p], or None where no state enters a chunk.
        """
        cuts = self._cuts
        some = self._dlast is not None or cuts.carry
        dleaving = here.room_for_states() if some else None
        if seen is not None:
            seen, C, whole = seen.mT.unflatten(0, (span.count, -1)), here.C.unflatten(0, (span.count, -1)), here.whole()
        for i, number in reversed(list(enumerate(span.numbers))):
            if cuts.ends(number):
                self._dstate = None if self._dlast is None else self._dlast[self._sequence]
            if dleaving is not None:
                settle(self._dstate, dleaving[i])
            begins = cuts.begins[number]
            if not begins or self._dinitial is not None:
                assert seen is not None
                if begins:
                    assert self._dinitial is not None
                    before = self._dinitial[self._sequence]
                elif i == 0:
                    before = here.empty_state()
                else:
                    assert dleaving is not None
                    before = dleaving[i - 1]
                if self._dstate is None:
                    torch.bmm(seen[i], C[i], out=here.states(before))
                else:
                    torch.mul(self._dstate, whole[i], out=before)
                    here.states(before).baddbmm_(seen[i], C[i])
                self._dstate = before
            self._sequence -= begins
        return dleaving


def settle(state: Tensor | None, place: Tensor) -> None:
    """`place` holds the state, None for zeros, afterwards; it may have been computed there."""
    if state is None:
        place.zero_()
    elif not place.is_set_to(state):
        place.copy_(state)
