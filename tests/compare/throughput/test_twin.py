from dataclasses import replace

import pytest
import torch

from workbench.arch.sizes import ModelSizes
from workbench.compare.throughput.counting import count_calls
from workbench.compare.throughput.regimes import problem
from workbench.compare.throughput.result import NotTheSame
from workbench.compare.throughput.twin import Twin, check_same, check_same_weights
from workbench.fusion import runtime
from workbench.pattern.model import Pattern


def twins(*patterns, **changes):
    runtime.require_single_process()
    posed = replace(problem("host"), **changes)
    return [Twin(Pattern(text), posed, seed=1, dtype="fp32", backend="local") for text in patterns]


def test_the_last_bit_of_one_weight_is_seen():
    pair = twins("[*-]", "*-")
    check_same_weights(*pair)
    weight = pair[0].trainer.model.module.output_layer.weight.data
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(1.0))
    with pytest.raises(NotTheSame, match=r"after 0 steps, 1 of \d+ weights are not the same bits") as caught:
        check_same_weights(*pair)
    assert caught.value.measured["differing"] == ["output_layer.weight"]


def test_dropout_draws_the_same_in_both():
    sizes = ModelSizes(hidden_dropout=0.2, attention_dropout=0.1)
    pair = twins("[*-]", "*-", sizes=sizes)
    for _ in range(2):
        for twin in pair:
            twin.prepared_step()
    check_same(*pair)
    assert pair[0].results[0] != pair[0].results[1]


def test_phases_are_marked_where_they_end():
    (twin,) = twins("[*-]")
    twin.prepare()
    seen = []

    def mark():
        parameter = next(twin.trainer.model.parameters())
        seen.append((bool(parameter.main_grad.any()), len(twin.results)))

    twin.step(mark)
    # No gradient after the forward, gradients and no step yet after the backward.
    assert seen == [(False, 0), (True, 0)]


def test_module_calls_are_those_that_hooks_see():
    (twin,) = twins("*-M")
    twin.prepared_step()
    calls = []
    handle = torch.nn.modules.module.register_module_forward_pre_hook(lambda module, _: calls.append(module))
    twin.prepared_step()
    handle.remove()
    twin.prepare()
    assert count_calls(twin.step).modules == len(calls) > 10


def test_every_step_has_tokens_of_its_own_and_twins_have_the_same():
    pair = twins("[*-]", "*-")
    seen = []
    for _ in range(2):
        for twin in pair:
            twin.prepare()
            seen.append(twin._tokens)
            twin.step()
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[0], seen[2])
