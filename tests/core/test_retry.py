"""When work is tried again, and after which pause."""

from __future__ import annotations

from nyctaxi_etl.core.errors import Blocked, Transient
from nyctaxi_etl.core.retry import LONGEST_WAIT_SECONDS, Pauses, may_pass


def test_pauses_that_a_server_asks_for_add_up() -> None:
    """Together they are two minutes at most; the pause after one failure is the same however often it is asked for."""
    pauses = Pauses()
    first = Transient("busy", retry_after=70)
    assert [pauses(first), pauses(first)] == [70, 70]
    assert pauses(Transient("busy", retry_after=70)) == LONGEST_WAIT_SECONDS - 70
    assert pauses(Transient("busy", retry_after=70)) is False
    assert pauses(Transient("busy", retry_after=0)) == 0
    assert pauses(Transient("broken")) is True
    assert pauses(Blocked("a web page")) is False


def test_work_as_a_whole_is_not_tried_again_where_a_server_was_waited_for() -> None:
    """The loop around it would wait as long once more; what may pass by itself it tries again."""
    assert may_pass(Transient("broken"))
    assert not may_pass(Transient("busy", retry_after=7))
    assert not may_pass(Blocked("a web page"))
