"""Words of a script: what the shell would pass on, where the text alone says so, and what it cannot say."""

from __future__ import annotations

import shlex
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.arch.megatron.shell_words import commands_of
from workbench.errors import WorkbenchError


def words(text: str) -> list[list[str]]:
    return [[word.text for word in command] for command in commands_of(text)]


CASES: dict[str, tuple[str, list[list[str]]]] = {
    "nothing": ("", []),
    "one command": ("run --a 1 --b=2", [["run", "--a", "1", "--b=2"]]),
    "continued lines": ("run \\\n  --a 1 \\\n  --b", [["run", "--a", "1", "--b"]]),
    "continued, Windows line ends": ("run --a 1\r\nrun --b", [["run", "--a", "1"], ["run", "--b"]]),
    "comments": ("# first\nrun --a 1 # why --c\n# --d\nrun --b a#b", [["run", "--a", "1"], ["run", "--b", "a#b"]]),
    "several commands": ("a --x; b && c | d --y &", [["a", "--x"], ["b"], ["c"], ["d", "--y"]]),
    "redirections": ("run --a 1 > out.txt 2>&1 --b", [["run", "--a", "1", "--b"]]),
    "quotes": ("run 'M-M*' \"a b\" c\\ d 'it'\"'\"'s'", [["run", "M-M*", "a b", "c d", "it's"]]),
    "escapes in quotes": ('run "a\\"b" "\\$X" "a\\\nb"', [["run", 'a"b', "$X", "ab"]]),
    "an empty word": ("run '' \"\"", [["run", "", ""]]),
    "a variable": ("N=64\nrun --a $N --b ${N} --c \"$N\" --d x${N}y", [["run", "--a", "64", "--b", "64", "--c", "64", "--d", "x64y"]]),
    "no variable in single quotes": ("N=64\nrun '$N' $N", [["run", "$N", "64"]]),
    "a list in quotes": ('ARGS="--a 1 \\\n --b"\nrun $ARGS', [["run", "--a", "1", "--b"]]),
    "a quoted list is one word": ('ARGS="--a 1"\nrun "$ARGS"', [["run", "--a 1"]]),
    "an array": ("ARGS=(\n  --a 1 # one\n  --b 'M- *'\n)\nrun ${ARGS[@]}", [["run", "--a", "1", "--b", "M- *"]]),
    "a quoted array": ("ARGS=(--a 1)\nrun \"${ARGS[@]}\"", [["run", "--a", "1"]]),
    "a quoted array's words are whole": (
        'A=(--a "x y")\nrun "${A[@]}" "p${A[@]}s" "${A[*]}"',
        [["run", "--a", "x y", "p--a", "x ys", "--a x y"]],
    ),
    "a variable in another": ("N=4\nARGS=\"--a $N\"\nrun $ARGS", [["run", "--a", "4"]]),
    "exported, and set before a command": ("export N=4\nM=5 run --a $N --b $M", [["run", "--a", "4", "--b", "5"]]),
    "set and never used": ("ARGS=(--a 1)\nMORE='--b 2'", [["--a", "1", "--b", "2"]]),
    "set twice alike": ("N=4\nN=4\nrun $N", [["run", "4"]]),
    "an unset variable that is empty": ("E=\nrun $E --a", [["run", "--a"]]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_the_shell_would_pass_on(case: str) -> None:
    text, expected = CASES[case]
    assert words(text) == expected
    assert [word.unknown for command in commands_of(text) for word in command if word.unknown] == []


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("run $WHO", "$WHO"),
        ("run a${WHO}b", "${WHO}"),
        ('run "a $WHO"', "$WHO"),
        ("run $(nproc --all)", "$(nproc --all)"),
        ("run $((4 * 2))", "$((4 * 2))"),
        ("run `hostname -s`", "`hostname -s`"),
        ("run ${N:-4}", "${N:-4}"),
        ("run $1", "$1"),
        ("N=4\nN=5\nrun $N", "$N"),
        ("ARGS=(--a)\nARGS+=(--b)\nrun ${ARGS[@]}", "${ARGS[@]}"),
        ("ARGS=(--a)\nARGS+=(--b)", "${ARGS}"),
        ("N=$N\nrun $N", "$N"),
        ("N=$M\nrun $N", "$M"),
        ("if [ $S = big ]; then N=4; else N=8; fi\nrun --a $N", "$S"),
    ],
)
def test_what_the_text_does_not_say(text: str, unknown: str) -> None:
    assert next(word.unknown for command in commands_of(text) for word in command if word.unknown) == unknown


@pytest.mark.parametrize(("text", "line"), [("run 'a", 1), ('a\nrun "b', 2), ("a\n\nN='x", 3)])
def test_a_quote_that_is_not_closed(text: str, line: int) -> None:
    with pytest.raises(WorkbenchError, match=f"^line {line} of the script opens a quote .* that is not closed$"):
        commands_of(text)


def test_variables_that_double_each_other() -> None:
    doubling = "".join(f'V{number}="$V{number - 1} $V{number - 1}"\n' for number in range(1, 60))
    assert words(f"V0=\n{doubling}run $V59") == [["run"]]
    with pytest.raises(WorkbenchError, match="of the script holds more than 1000000 characters"):
        words(f"V0=x\n{doubling}run $V59")


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5))
def test_what_shlex_quotes_comes_back(texts: list[str]) -> None:
    assert words(shlex.join(["run", *texts])) == [["run", *texts]]


@given(st.text(st.sampled_from("a1 \n\t'\"\\$(){}[]@=+#<>|&;`-"), max_size=40))
def test_no_text_is_too_odd(text: str) -> None:
    with suppress(WorkbenchError):
        assert all(word.text is not None for command in commands_of(text) for word in command)
