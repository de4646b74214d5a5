"""The simulator: queueing that can be checked by hand, bounds that hold, and repeatable weather."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sophia.cli.main import main
from sophia.nouns.errors import InvalidInput
from sophia.nouns.pool import PoolSpec, Scaling, WhenCold
from sophia.simulate.compare import beaten, compare, entries, recommend
from sophia.simulate.optimum import optimum_s, work_bound_s
from sophia.simulate.traces import Service, read
from sophia.simulate.world import Trace, Weather, run

STEADY = Weather(boot_s=(300.0, 300.0))


def pool(**changes) -> PoolSpec:
    values: dict[str, Any] = {
        "provider": "lambda",
        "streams": ("planning",),
        "instance_types": ("gpu",),
        "min": 0,
        "max": 10,
        "idle_timeout_s": 600.0,
        "slots": 2,
    }
    return PoolSpec(**(values | changes))


def fixed(number: int) -> PoolSpec:
    return pool(min=number, max=number, idle_timeout_s=None, scaling=Scaling(policy="static"))


def trace_of(at, run_s) -> Trace:
    at = np.asarray(at, dtype=np.float64)
    run_s = np.broadcast_to(np.asarray(run_s, dtype=np.float64), at.shape)
    return Trace(name="t", at_s=at, run_s=run_s, hosted_usd=np.full(at.shape, 0.01), span_s=float(at[-1]))


def poisson(hours: float, per_s: float, run_s: float, seed: int = 3) -> Trace:
    chance = np.random.default_rng(seed)
    count = round(hours * 3600 * per_s)
    return trace_of(np.sort(chance.uniform(0, hours * 3600, count)), chance.exponential(run_s, count))


def test_two_slots_start_the_third_task_when_the_first_ends():
    outcome = run(trace_of([0, 0, 0, 1], 8.0), fixed(1), None, name="x", weather=STEADY, start=1)
    assert outcome.waits_s.tolist() == [0, 0, 8, 7]
    assert outcome.instance_s == 60
    assert outcome.launches == 1


def test_one_task_wakes_a_pool_at_zero_and_waits_for_the_boot():
    spec = pool(scaling=Scaling(policy="forecast"))
    outcome = run(trace_of([5], 8.0), spec, None, name="x", weather=STEADY)
    assert 300 <= outcome.waits_s[0] <= 320
    assert outcome.launches == 1


def test_overflow_goes_to_the_hosted_model_and_is_paid():
    spec = pool(scaling=Scaling(policy="forecast", when_cold=WhenCold(overflow=True)))
    outcome = run(trace_of([5, 6], 8.0), spec, None, name="x", weather=STEADY)
    assert outcome.hosted == 2
    assert outcome.hosted_usd == pytest.approx(0.02)
    assert outcome.waits_s.max() == 0


def test_sustained_work_beside_a_hosted_model_is_carried_by_own_machines():
    spec = pool(slots=8, scaling=Scaling(policy="forecast", when_cold=WhenCold(overflow=True)))
    outcome = run(poisson(6, 1.0, 10.0), spec, None, name="x", weather=STEADY)
    assert outcome.hosted < 0.5 * len(outcome.waits_s)
    assert outcome.launches >= 1


def test_no_policy_costs_less_than_the_bounds():
    trace = poisson(3, 0.6, 10.0)
    spec = pool(slots=4)
    comparison = compare(trace, spec, entries(spec, trace), weather=STEADY)
    for row in comparison.rows:
        if row.hosted == 0:
            assert row.gpu_usd >= comparison.work_usd
        if row.in_objective == 1.0:
            assert row.usd >= comparison.optimum_usd
        if row.in_objective >= comparison.share and row.hosted == 0:
            assert row.usd >= comparison.optimum_share_usd
    assert comparison.work_usd <= comparison.optimum_share_usd <= comparison.optimum_usd
    assert all(one not in others for one, others in beaten(comparison).items())
    best = recommend(comparison, comparison.share)
    assert best is not None
    assert best.in_objective >= comparison.share


def test_the_optimum_of_one_long_task_is_the_task_and_its_boot():
    trace = trace_of([0], 3600.0)
    assert work_bound_s(trace, 2) == 1800
    bound = optimum_s(trace, 2, 300.0, 10.0, 1.0)
    assert 3600 * 0.95 <= bound <= 3900


def test_forecast_keeps_its_objective_on_steady_work_and_is_cheaper_than_right_sizing_twice_over():
    trace = poisson(24, 1.0, 8.0)
    spec = pool(slots=8, scaling=Scaling(policy="forecast", keep_warm=1))
    outcome = run(trace, spec, None, name="x", weather=STEADY, start=1)
    assert (outcome.waits_s <= 10).mean() >= 0.98
    assert outcome.instance_s < 2 * 2 * 86_400


def test_deferrable_work_is_packed_near_its_bare_cost_and_meets_its_deadline():
    trace = poisson(24, 2.0, 10.0)
    spec = pool(slots=8, scaling=Scaling(policy="forecast", deferrable=True))
    outcome = run(trace, spec, None, name="x", weather=STEADY)
    assert (outcome.waits_s <= 900).mean() >= 0.99
    assert outcome.instance_s <= 1.15 * work_bound_s(trace, 8)


def test_weather_refuses_launches_and_is_the_same_for_one_seed():
    trace = poisson(6, 0.5, 20.0)
    spec = pool(scaling=Scaling(policy="backlog"))
    bad = Weather(refused=0.5, outages_per_day=12, seed=4)
    first, again = (run(trace, spec, None, name="x", weather=bad) for _ in range(2))
    assert first.refused > 0
    assert (first.waits_s == again.waits_s).all()
    assert first.instance_s == again.instance_s


def test_traces_are_read_plain_and_packed_by_type_and_length(tmp_path):
    text = "t,in,out,type\n10,3000,25,i\n11,0,0,b\n90000,1,1,i\n"
    (tmp_path / "a.csv").write_text(text)
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write(text)
    plain, packed = (read(tmp_path / name, Service()) for name in ("a.csv", "b.csv.gz"))
    assert plain.at_s.tolist() == packed.at_s.tolist() == [0, 1, 89990]
    assert plain.run_s[0] == pytest.approx(0.1 + 1 + 1)
    assert len(read(tmp_path / "a.csv", Service(), kind="b").at_s) == 1
    assert len(read(tmp_path / "a.csv", Service(), days=1).at_s) == 2


@pytest.mark.parametrize("text", ["", "t,in\n1,2\n", "t,in,out\n", "t,in,out\n1,x,3\n", "t,in,out\n1,-2,3\n"])
def test_what_is_no_trace_is_refused(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InvalidInput):
        read(tmp_path / "a.csv", Service())


def test_the_command_prints_json_and_writes_a_plot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{at},1000,100" for at in range(0, 3600, 4))
    (tmp_path / "a.csv").write_text(f"t,in,out\n{rows}\n")
    done = CliRunner().invoke(main, ["simulate", "a.csv", "--policy", "forecast", "--out", "o", "--json"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    assert [row["policy"] for row in found["rows"]] == ["forecast", "always-on 10", "right-sized 1"]
    assert (tmp_path / "o" / "simulation.svg").read_text().startswith("<svg")
    assert json.loads((tmp_path / "o" / "simulation.json").read_text()) == [found]
    table = CliRunner().invoke(main, ["simulate", "a.csv", "--policy", "forecast"])
    assert "right-sized 1" in table.output
    assert CliRunner().invoke(main, ["simulate", "a.csv", "--policy", "nonsense"]).exit_code == 2


def test_what_if_recommends_the_cheaper_configuration_that_keeps_the_objective(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{at},1000,100" for at in range(0, 7200, 2))
    (tmp_path / "a.csv").write_text(f"t,in,out\n{rows}\n")
    for name, number, slots in (("four", 4, 8), ("one", 1, 8), ("short", 1, 1)):
        (tmp_path / f"{name}.yaml").write_text(
            "profile: hosted\npools:\n  inference:\n    windows: []\n    scaling: {policy: static}\n"
            f"    min: {number}\n    max: {number}\n    slots: {slots}\n"
        )
    words = ["simulate", "a.csv", "--config", "four.yaml", "--what-if", "one.yaml", "--policy", "static half"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "cheapest that starts 99% within 10 s: one.yaml," in done.output
    # Slots are the pool's: fewer of them are another configuration that is cheaper only in what it lets wait.
    (found,) = json.loads(CliRunner().invoke(main, [*words, "--what-if", "short.yaml", "--json"]).stdout)
    late = {row["policy"]: row["in_objective"] for row in found["rows"]}
    assert late["one.yaml"] == 1.0
    assert late["short.yaml"] < 0.5
