"""The state machine: what may follow what, and that terminal states never change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dti_service.experiment import STATES, TERMINAL, TRANSITIONS, Experiment, IllegalTransition, transition
from dti_service.ids import is_id, new_id


def test_terminal_states_are_the_three_ends() -> None:
    assert {"succeeded", "failed", "cancelled"} == TERMINAL


@pytest.mark.parametrize("state", sorted(TERMINAL))
@pytest.mark.parametrize("following", STATES)
def test_nothing_follows_an_end(state: str, following: str) -> None:
    experiment = Experiment(id=new_id(), notebook="n", state=state)  # type: ignore[arg-type]
    with pytest.raises(IllegalTransition, match=state):
        transition(experiment, following)  # type: ignore[arg-type]


class Life(RuleBasedStateMachine):
    """Random wishes: the record follows the table, counts its attempts and keeps its first end."""

    def __init__(self) -> None:
        super().__init__()
        self.experiment = Experiment(id=new_id(), notebook="n")
        self.starts = 0
        self.end: str | None = None

    @rule(state=st.sampled_from(STATES))
    def wish(self, state: str) -> None:
        allowed = state in TRANSITIONS[self.experiment.state]
        before = self.experiment
        try:
            self.experiment = transition(before, state)  # type: ignore[arg-type]
        except IllegalTransition:
            assert not allowed
            assert self.experiment is before
            return
        assert allowed
        self.starts += state == "running"
        if state in TERMINAL:
            self.end = state

    @invariant()
    def is_consistent(self) -> None:
        experiment = self.experiment
        assert experiment.attempt == self.starts
        assert self.end is None or experiment.state == self.end
        assert (experiment.finished_at is not None) == experiment.ended
        assert Experiment.from_dict(experiment.to_dict()) == experiment


TestLife = Life.TestCase


@given(st.dictionaries(st.text(max_size=12), st.none() | st.integers() | st.text(max_size=5), max_size=6))
def test_foreign_records_are_refused_not_misread(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"record|format"):
        Experiment.from_dict(values)


def test_fields_of_a_later_version_are_ignored() -> None:
    record = Experiment(id=new_id(), notebook="n").to_dict()
    assert Experiment.from_dict({**record, "colour": "red"}).to_dict() == record


def test_ids_are_ordered_and_safe() -> None:
    ids = [new_id() for _ in range(2000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert all(map(is_id, ids))
    assert not any(map(is_id, ("", "..", "../" + ids[0], ids[0] + "\n", ids[0].upper(), "x" * 36)))
