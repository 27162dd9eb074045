"""A search at the cursor of a walk: its branches in the tree, their marks, and what stays when it is cancelled."""

from collections.abc import Callable

import pytest

from core.errors import UserError
from core.generation.token import Token
from core.loading.model import Model
from core.search.settings import BeamSettings, BestSettings, Plan, parse
from core.search.values import BestState
from core.sessions import record
from core.walk.session import Session
from core.walk.values import Branch

Small = Callable[..., Model]


@pytest.fixture
def walk(small: Small) -> Session:
    session = Session(small("model5"))
    list(session.prefill(list(b"oat")))
    return session


def marked(session: Session, kind: str) -> list[Branch]:
    return [row for row in session.searches.forest(200).rows if row.mark and row.mark.kind == kind]


def leaf(session: Session, branch: Branch) -> list[Token]:
    """The tokens after the prompt up to the end of a branch."""
    nodes = session.tree.segment(session.tree.node(branch.serial))
    return [node.token for node in session.tree.path(nodes[-1])][session.prompt_length :]


def test_a_beam_search_is_a_tree_of_chosen_and_dropped_hypotheses(walk: Session) -> None:
    """Each complete hypothesis is a branch with its rank; each token has the score that the walk would give it."""
    for _ in walk.searches.search(parse("beam 3; length 5; penalty 0")):
        pass
    status = walk.searches.status
    assert status is not None
    answers = sorted(marked(walk, "answer"), key=lambda each: each.mark.rank if each.mark else 0)
    assert [[token.id for token in leaf(walk, each)] for each in answers] == [
        list(each.ids) for each in status.state.answers
    ]
    for branch, answer in zip(answers, status.state.answers, strict=True):
        assert branch.surprisal_bits == pytest.approx(-answer.logprob / 0.6931471805599453)
    assert marked(walk, "dropped")
    assert not marked(walk, "running")
    list(walk.visit(answers[0].serial))
    walk.travel(len(walk.tokens))
    before = list(walk.tokens)
    walk.history.forget_scores()
    list(walk.score())
    for old, new in zip(before[3:], walk.tokens[3:], strict=True):
        assert old.origin == "chosen"
        assert old.score is not None
        assert new.score is not None
        assert old.score.logprob == pytest.approx(new.score.logprob, abs=1e-5)
        assert (old.score.rank, old.id) == (new.score.rank, new.id)


def test_only_the_best_answers_stay_in_the_tree(walk: Session) -> None:
    """After a search for the likeliest, the nodes below the prompt are those of its answers."""
    for _ in walk.searches.search(Plan(BestSettings(4, 2))):
        pass
    status = walk.searches.status
    assert status is not None
    assert status.state.reason == "proved"
    prefixes = {answer.ids[:n] for answer in status.state.answers for n in (1, 2)}
    assert len(walk.tree.nodes) == 3 + len(prefixes)
    assert sorted(row.mark.rank for row in marked(walk, "answer") if row.mark) == [1, 2, 3, 4]
    assert all(row.mark and row.mark.proved for row in marked(walk, "answer"))


def test_a_cancelled_search_keeps_what_it_found_and_says_what_is_proved(walk: Session) -> None:
    """Closing the iterator after some steps: the answers so far stay, none is called proved that is not."""
    steps = walk.searches.search(Plan(BestSettings(3, 4)))
    for _ in range(6):
        next(steps)
    steps.close()
    status = walk.searches.status
    assert status is not None
    assert isinstance(status.state, BestState)
    assert status.state.reason == "cancelled"
    assert len(status.state.answers) == len(marked(walk, "answer")) == 3
    proved = [row.mark.proved for row in marked(walk, "answer") if row.mark]
    assert proved.count(True) == status.state.proved < 3


def test_branches_that_were_there_before_stay_with_their_tokens(walk: Session) -> None:
    """A search that comes along a drawn token leaves it as it was drawn, and removes none of the walk's nodes."""
    drawn = walk.step()
    walk.travel(3)
    for _ in walk.searches.search(Plan(BestSettings(2, 2))):
        pass
    for _ in walk.searches.search(Plan(BestSettings(1, 1))):
        pass
    assert drawn is walk.tokens[3]
    assert drawn.origin == "sampled"


def test_a_search_begins_at_the_cursor_and_the_walk_goes_on_after_it(walk: Session) -> None:
    """The same hypotheses as after a prompt of the same ids; the walk and its distribution are unchanged."""
    list(walk.generate(3))
    walk.travel(4)
    before = walk.distribution().logits.clone()
    for _ in walk.searches.search(Plan(BeamSettings(2, 3))):
        pass
    other = Session(walk.model)
    list(other.prefill([token.id for token in walk.tokens[:4]]))
    for _ in other.searches.search(Plan(BeamSettings(2, 3))):
        pass
    here, there = walk.searches.status, other.searches.status
    assert here is not None
    assert there is not None
    assert [answer.ids for answer in here.state.answers] == [answer.ids for answer in there.state.answers]
    assert walk.cursor == 4
    assert walk.distribution().logits.equal(before)


def test_a_tree_with_a_search_is_saved_and_read_again(walk: Session) -> None:
    """Its branches are chosen tokens like any others."""
    for _ in walk.searches.search(parse("beam 2; length 3")):
        pass
    saved = record.record_of(walk)
    tree, _ = saved.tree()
    assert len(tree.nodes) == len(walk.tree.nodes)
    assert {row.token.origin for row in saved.rows} == {"prompt", "chosen"}


@pytest.mark.parametrize(
    "line",
    [
        "beam 4; length 20; penalty 1",
        "beam 2; length 3; penalty 0.5; early never",
        r"best 5; length 10; nodes 50; stop '\n'",
    ],
)
def test_a_plan_is_read_as_it_is_written(line: str) -> None:
    assert str(parse(line)) == line


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("beam", "beam"),
        ("beam x", "x"),
        ("beam 3; best 4", "beam is not a setting of best"),
        ("best 2; penalty 1", "penalty"),
        ("width 3", "width"),
        ("beam 2; beam 3", "beam 3"),
        ("beam 2; early maybe", "maybe"),
        ("beam 2; stop 'a", "'a"),
        ("beam 1000", "1000"),
    ],
)
def test_a_line_that_is_no_plan_is_refused(line: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        parse(line)


def test_a_stop_text_must_be_one_token(walk: Session) -> None:
    """Over bytes `ab` is two tokens; `.` is one."""
    tokenizer = walk.model.tokenizer
    assert Plan(BeamSettings(), (".",)).stop_ids(tokenizer) == {ord(".")} | tokenizer.stops
    with pytest.raises(UserError, match="2 tokens"):
        next(walk.searches.search(Plan(BeamSettings(), ("ab",))))
