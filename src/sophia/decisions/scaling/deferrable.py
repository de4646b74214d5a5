"""Work with a late deadline: it waits for capacity that is there anyway, or for a batch that is worth a boot."""

from __future__ import annotations

from sophia.decisions.scaling.base import Situation, Want, instances_for

FINISHES = 5.0
"""Mean tasks within which nearly every task is over."""


def deferrable(now: Situation) -> Want:
    """Launch as late as the deadline lets, and then so many that what waits is done in the time that is left after the
    boot; keep instances only while they are full, since what comes next may wait again."""
    scaling, slots = now.spec.scaling, now.spec.slots
    waiting, running = now.demand.waiting or 0, now.demand.running or 0
    there = len(now.capacity)
    busy = instances_for(running, slots)
    if not waiting:
        return _with_an_empty_queue(now, busy)
    known_s = now.history.task_s if now.history is not None else now.demand.task_s
    work_s = waiting * (known_s or scaling.objective_s)
    slack_s = max(scaling.deadline_s - 1.2 * scaling.boot_s, 0.1 * scaling.deadline_s)
    """How long the newest may expect to wait before another machine must be asked for; boots differ in length."""
    if not there:
        age_s = now.demand.oldest_age_s or 0.0
        if age_s < slack_s and work_s < slots * slack_s:
            why = f"{waiting} tasks wait for a batch worth a boot; the oldest for {age_s:.0f} s of {slack_s:.0f} s"
            return Want(need=0, reason=why, idle_s=0.0, paid_out=True)
        need = 1
    else:
        need = max(busy, min(there, instances_for(waiting + running, slots)))
    expected_s = work_s / (max(there, need) * slots)
    if expected_s > slack_s:
        need = max(need, there + 1, instances_for(work_s / scaling.deadline_s, slots))
    why = f"{waiting} tasks are {work_s:.0f} s of work, the last to start in {expected_s:.0f} s; {slack_s:.0f} s may be waited"
    return Want(need=need, reason=why, idle_s=0.0, paid_out=True)


def _with_an_empty_queue(now: Situation, busy: int) -> Want:
    """A last instance that is not full goes although something always runs: what comes waits for the next batch, which
    saves that time, and the boot would be paid anyway when the work is so little that nothing runs for a while. Work
    that takes longer than an instance may drain for is left alone."""
    slots, running = now.spec.slots, now.demand.running or 0
    task_s = now.demand.task_s
    brief = task_s is not None and FINISHES * task_s <= now.spec.drain_timeout_s
    last = len(now.capacity) == 1 and brief and running < slots
    why = f"nothing waits, {running} run"
    return Want(need=0 if last else busy, reason=why, idle_s=0.0, paid_out=True, finish_busy=last)
