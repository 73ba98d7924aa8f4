"""The one parser: tokens in, a tree with spans and every problem out. It never raises and never stops early.

Grammar (each `_parse_*` holds one rule):

    pattern := main { "/" mtp }
    main    := stage { "|" stage }
    stage   := { item }
    mtp     := { item }
    item    := symbol | "[" sequence_mixer channel_mixer "]"

One mistake makes one diagnostic: after an error the parser goes on as if the least had been meant, and the tree holds
what could be understood. What concerns more than one token's neighbourhood is `workbench.pattern.checks`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from workbench.pattern.diagnostics import Diagnostic, Fix, shortened
from workbench.pattern.symbols import CHANNEL_MIXERS, SEQUENCE_MIXERS, can_fuse, pair_up, symbol_of
from workbench.pattern.tokens import Kind, Token, tokenize
from workbench.pattern.unknown import unknown_symbol


@dataclass(frozen=True)
class Item:
    """A stand-alone symbol or a group; `symbols` are tokens of layer symbols, `start`/`end` include the brackets."""

    symbols: tuple[Token, ...]
    start: int
    end: int
    fused: bool


@dataclass(frozen=True)
class Section:
    """The items of one stage or one MTP depth, and the text span they were read from."""

    items: tuple[Item, ...]
    start: int
    end: int

    @property
    def symbols(self) -> tuple[Token, ...]:
        """Every layer symbol of the section."""
        return tuple(token for item in self.items for token in item.symbols)


@dataclass(frozen=True)
class Tree:
    """A pattern as it was read: stages, MTP depths (empty without "/"), and the problems met while reading."""

    text: str
    stages: tuple[Section, ...]
    depths: tuple[Section, ...]
    problems: tuple[Diagnostic, ...]


def parse(text: str) -> Tree:
    """Read a pattern; see the module."""
    return _Parser(text).parse_pattern()


@dataclass
class _Parser:
    text: str
    place: int = 0  # index of the next token
    in_mtp: bool = False
    problems: list[Diagnostic] = field(default_factory=list)
    tokens: tuple[Token, ...] = ()
    closes_around: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = tokenize(self.text)
        self.closes_around = _closes_around(self.tokens)

    # ------------------------------------------------------------------------------------- the rules

    def parse_pattern(self) -> Tree:
        """`pattern := main { "/" mtp }`"""
        stages = self._parse_main()
        depths: list[Section] = []
        while self._next_is(Kind.MTP):
            self.in_mtp = True
            self.place += 1
            depths.append(self._parse_section())
        return Tree(self.text, tuple(stages), tuple(depths), tuple(self.problems))

    def _parse_main(self) -> list[Section]:
        """`main := stage { "|" stage }`"""
        stages = [self._parse_section()]
        while self._next_is(Kind.STAGE):
            self.place += 1
            stages.append(self._parse_section())
        return stages

    def _parse_section(self) -> Section:
        """`stage := { item }` and `mtp := { item }`; up to the next separator that ends it."""
        start = self._offset()
        items: list[Item] = []
        while (token := self._peek()) is not None and token.kind is not Kind.MTP:
            if token.kind is Kind.STAGE and not self.in_mtp:
                break
            item = self._parse_item(token)
            if item is not None:
                items.append(item)
        return Section(tuple(items), start, self._offset())

    def _parse_item(self, token: Token) -> Item | None:
        """`item := symbol | group`; None for a token that is neither."""
        if token.kind is Kind.OPEN:
            return self._parse_group(token)
        self.place += 1
        if token.kind is Kind.SYMBOL:
            return Item((token,), token.start, token.end, fused=False)
        if token.kind is Kind.CLOSE:
            self._problem(
                "unopened-group", token, "']' closes a group that was never opened", "remove it, or put '[' where the group starts",
                Fix("remove ']'", token.start, token.end, ""),
            )  # fmt: skip
        elif token.kind is Kind.STAGE:
            self._stage_in_mtp(token)
        else:
            self.problems.append(unknown_symbol(token))
        return None

    def _parse_group(self, opening: Token) -> Item | None:
        """`group := "[" sequence_mixer channel_mixer "]"`"""
        closing = self._find_close()
        if closing is None:
            self._unclosed(opening)
            return None
        inside = self.tokens[self.place + 1 : closing]
        members = tuple(token for token in inside if token.kind is Kind.SYMBOL)
        start, end = opening.start, self.tokens[closing].end
        self.place = closing + 1
        if len(members) == len(inside):
            fused = self._check_members(members, start, end)
        else:
            fused = False
            self._check_inside(inside, members, start, end)
        return Item(members, start, end, fused) if members else None

    # ---------------------------------------------------------------------------------------- groups

    def _find_close(self) -> int | None:
        """Index of the `]` that closes the group starting here, or None where it is never closed.

        `|` and `/` do not end the search: `[*|-]` is a group that crosses a stage. But where a group opens after them,
        or brackets do not balance, the missing `]` is the likelier mistake: `[*-|[M-]` forgot one before `|`.
        """
        depth, crossed = 0, False
        for index in range(self.place, len(self.tokens)):
            kind = self.tokens[index].kind
            if kind in (Kind.STAGE, Kind.MTP):
                crossed = True
            elif kind is Kind.OPEN:
                if crossed or (depth == 1 and not self.closes_around[index]):
                    return None
                depth += 1
            elif kind is Kind.CLOSE:
                depth -= 1
                if depth == 0:
                    return index
        return None

    def _unclosed(self, opening: Token) -> None:
        """Report it and read on behind the bracket: what follows are items of the section."""
        self.place += 1
        following = self.tokens[self.place : self.place + 2]
        pair = [token for token in following if token.kind is Kind.SYMBOL]
        fix = None
        hint = "close it with ']' after a sequence mixer and a channel mixer, or remove '['"
        if len(pair) == 2 and can_fuse(pair[0].text, pair[1].text):
            fix = Fix("close after the next two layers", pair[1].end, pair[1].end, "]")
            hint = f"write [{pair[0].text}{pair[1].text}], or remove '['"
        elif pair and pair[0].text in SEQUENCE_MIXERS:
            hint = f"write {' or '.join(f'[{pair[0].text}{channel}]' for channel in CHANNEL_MIXERS)}, or remove '['"
        self._problem(
            "unclosed-group",
            opening,
            "'[' is never closed",
            hint,
            fix or Fix("remove '['", opening.start, opening.end, ""),
        )

    def _check_inside(self, inside: tuple[Token, ...], members: tuple[Token, ...], start: int, end: int) -> None:
        """A group with more in it than layer symbols: each kind of mistake is told once, and size and order are not."""
        plain = "".join(token.text for token in inside if token.kind not in (Kind.OPEN, Kind.CLOSE))
        without = Fix("remove the brackets", start, end, plain)
        told: set[Kind] = set()
        for token in inside:
            if token.kind is Kind.UNKNOWN:
                self.problems.append(unknown_symbol(token))
            elif token.kind is Kind.STAGE and self.in_mtp:
                self._stage_in_mtp(token)
            elif token.kind in told:
                continue
            elif token.kind is Kind.OPEN:
                pairs = pair_up("".join(member.text for member in members))
                advice, fix = "remove the brackets", without
                if len(plain) == len(members) > 0:
                    advice = f"write {shortened(pairs)}"
                    fix = Fix(advice, start, end, pairs)
                hint = f"a group holds two symbols: {advice}"
                self._problem("nested-group", token, "a group inside a group", hint, fix)
            elif token.kind is Kind.STAGE:
                self._problem(
                    "group-crosses-stage", token, "a group cannot hold '|': one block lives on one pipeline stage",
                    "close the group before '|', or move '|' outside the brackets", without,
                )  # fmt: skip
            elif token.kind is Kind.MTP:
                self._problem(
                    "group-crosses-mtp", token, "a group cannot hold '/': no block is shared with MTP, or by two MTP depths",
                    "close the group before '/', or move '/' outside the brackets", without,
                )  # fmt: skip
            told.add(token.kind)

    def _check_members(self, members: tuple[Token, ...], start: int, end: int) -> bool:
        """Size and order of a group whose characters are all layer symbols; True when it is a good one."""
        inside = "".join(token.text for token in members)
        without = Fix("remove the brackets", start, end, inside)
        if not members:
            hint = "remove it; a group holds a sequence mixer and a channel mixer, such as [*-]"
            self._report("empty-group", start, end, "a group with nothing in it", hint, without)
            return False
        if len(members) != 2:
            message = f"a group holds two symbols, a sequence mixer and a channel mixer, not {len(members)}"
            pairs = pair_up(inside)
            hint, fix = "remove the brackets", without
            if len(members) == 1:
                hint = f"one layer needs no brackets: write {inside}"
            elif pairs != inside:
                hint, fix = f"write {shortened(pairs)}", Fix(f"write {shortened(pairs)}", start, end, pairs)
            self._report("group-size", start, end, message, hint, fix)
            return False
        first, second = members
        if can_fuse(first.text, second.text):
            return True
        if first.text in SEQUENCE_MIXERS:
            start, end = second.start, second.end
            message = (
                f"a group ends with a channel mixer ({' '.join(CHANNEL_MIXERS)}), not with {symbol_of(second.text)}"
            )
        else:
            start, end = first.start, first.end if second.text in CHANNEL_MIXERS else second.end
            message = (
                f"a group starts with a sequence mixer ({' '.join(SEQUENCE_MIXERS)}), not with {symbol_of(first.text)}"
            )
        hint = "remove the brackets: the two layers cannot share a block"
        if can_fuse(second.text, first.text):
            hint = f"remove the brackets, or swap the two, [{second.text}{first.text}], which is another model"
        self._report("group-order", start, end, message, hint, without)
        return False

    # --------------------------------------------------------------------------------------- reports

    def _stage_in_mtp(self, token: Token) -> None:
        self._problem(
            "stage-in-mtp", token, "'|' cannot stand in an MTP pattern: MTP layers live on the last stage", "remove it",
            Fix("remove '|'", token.start, token.end, ""),
        )  # fmt: skip

    def _problem(self, code: str, token: Token, message: str, hint: str, fix: Fix | None = None) -> None:
        self._report(code, token.start, token.end, message, hint, fix)

    def _report(self, code: str, start: int, end: int, message: str, hint: str, fix: Fix | None = None) -> None:
        self.problems.append(Diagnostic(code, start, end, message, hint, fix))

    # ---------------------------------------------------------------------------------------- tokens

    def _peek(self) -> Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def _next_is(self, kind: Kind) -> bool:
        token = self._peek()
        return token is not None and token.kind is kind

    def _offset(self) -> int:
        token = self._peek()
        return token.start if token is not None else len(self.text)


def _closes_around(tokens: tuple[Token, ...]) -> list[bool]:
    """For every token: from here on, does its section close one more group than it opens? One pass from the right."""
    closes, lowest = [], 0
    for token in reversed(tokens):
        step = {Kind.OPEN: 1, Kind.CLOSE: -1}.get(token.kind, 0)
        lowest = 0 if token.kind in (Kind.STAGE, Kind.MTP) else step + min(0, lowest)
        closes.append(lowest < 0)
    return closes[::-1]
