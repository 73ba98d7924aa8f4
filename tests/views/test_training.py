"""What is said of a finished run: against the best baseline, in nats and in bits, and how fast it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.compare.training.record import Baseline, Evaluation, Step, TrainingRun
from workbench.views.training import facts, result_table, tokens_per_second, verdict

RUN = TrainingRun(
    pattern="M[*-]",
    parameters=1234,
    settings={},
    data={"name": "stdlib", "train_bytes": 100},
    steps=tuple(
        Step(number, 3.0, 1.0, 1e-3, 1000 * number, (9.0, 0.5, 0.5)[number - 1], 2**20) for number in (1, 2, 3)
    ),
    evaluations=(Evaluation(3, 2.0, 0.5, 0.1),),
    baselines=(Baseline("uniform", 5.5452), Baseline("bigram", 2.5, 0.25)),
)


def test_the_table():
    table = result_table(RUN)
    assert [column.label for column in table.columns][1:3] == ["test loss (nats)", "bits a byte"]
    assert table.rows == (
        ("uniform", "5.5452", "8.0000", "–"),
        ("bigram", "2.5000", "3.6067", "25.0%"),
        ("M[*-]", "2.0000", "2.8854", "50.0%"),
    )


def test_bits_are_of_a_byte_only_where_tokens_are_bytes():
    labels = [column.label for column in result_table(replace(RUN, data={"name": "mqar"})).columns]
    assert "bits a target" in labels
    assert "bits a byte" not in labels


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (2.0, "below the bigram baseline by 0.500 nats"),
        (2.75, "above the bigram baseline by 0.250 nats"),
        (float("nan"), "the test loss is not a number; the bigram baseline's is 2.5000"),
    ],
)
def test_the_verdict_is_against_the_best_baseline(loss, said):
    assert verdict(replace(RUN, evaluations=(Evaluation(3, loss, 0.5, 0.1),))) == said


def test_the_verdict_without_a_baseline_or_an_evaluation():
    assert verdict(replace(RUN, baselines=())) == "test loss 2.0000 nats"
    assert verdict(replace(RUN, evaluations=())) == "not evaluated"


def test_the_speed_leaves_the_first_step_out():
    assert tokens_per_second(RUN) == 2000
    assert tokens_per_second(replace(RUN, steps=RUN.steps[:1])) is None
    assert tokens_per_second(replace(RUN, steps=())) is None


def test_the_facts():
    shown = {fact.label: fact.value for fact in facts(RUN).entries}
    assert shown == {
        "steps": "3",
        "parameters": "1,234",
        "tokens": "3,000",
        "tokens a second": "2,000",
        "in steps": "10.0 s",
        "memory": "1 MiB",
    }
    assert "memory" not in {fact.label for fact in facts(replace(RUN, steps=())).entries}
