"""The alerts that fire, of all alerts, in typical situations of a release with three replicas."""
import collections
import itertools

import yaml

from promtool import RULES, promtool

# Seconds between scrapes.
STEP = 15
PODS = [f"warren-{name}" for name in ("6d5f-h7k2p", "6d5f-q9x4t", "6d5f-z3m8w",
                                      "77c8-b5c7d", "77c8-f8g9j", "77c8-l4n6r")]

# The default state of a replica at a step. Counters hold the increase since the last step: 5 messages per
# second, and 4 new clients per minute.
USUAL = {"up": 1, "hearing": None, "phase": "running", "born": 0, "connections": 1000, "opened": 1,
         "by_client": 1, "confirmed": 75, "late": 0, "timed_out": 0, "misses": 0, "blocked": 0,
         "consumed": 9}
COUNTED = ("opened", "by_client", "confirmed", "late", "timed_out", "misses", "blocked", "consumed")
BUCKETS = ("0.2", "0.5", "1", "+Inf")


def scrape(now, total):
    """The series that the rules read, including those that stay 0."""
    yield "process_start_time_seconds", now["born"]
    for role in ("publish", "consume"):
        yield f'warren_amqp_up{{role="{role}"}}', now["up"]
    yield "warren_hearing", now["up"] if now["hearing"] is None else now["hearing"]
    for phase in ("running", "unready", "draining", "closed"):
        yield f'warren_phase{{phase="{phase}"}}', int(now["phase"] == phase)
    yield 'warren_connections{transport="websocket"}', now["connections"]
    yield 'warren_connections{transport="sse"}', 0
    yield "warren_connections_limit", 20000
    yield 'warren_connections_opened_total{transport="websocket"}', total["opened"]
    yield 'warren_connections_opened_total{transport="sse"}', 0
    yield 'warren_connections_closed_total{code="1000",reason="by_client"}', total["by_client"]
    yield 'warren_connections_closed_total{code="1013",reason="too_slow"}', 0
    yield "warren_slow_clients", 0
    yield 'warren_messages_published_total{outcome="confirmed"}', total["confirmed"]
    yield 'warren_messages_published_total{outcome="publish_timeout"}', total["timed_out"]
    yield 'warren_messages_published_total{outcome="shutting_down"}', 0
    for bound in BUCKETS:
        in_time = total["confirmed"] - (total["late"] if bound != "+Inf" else 0)
        yield f'warren_publish_confirm_seconds_bucket{{le="{bound}"}}', in_time
    yield "warren_publish_confirm_seconds_count", total["confirmed"]
    yield "warren_messages_consumed_total", total["consumed"]
    yield "warren_canary_misses_total", total["misses"]
    yield "warren_deaf_total", 0
    yield "warren_amqp_blocked_seconds_total", total["blocked"]
    for worker, bound in itertools.product(("main", "0", "1"), BUCKETS):
        yield f'warren_event_loop_lag_seconds_bucket{{worker="{worker}",le="{bound}"}}', total["steps"]


def replica(pod, steps, state):
    """The series of a replica. `state` returns deviations from USUAL at a step, or None if it does not run."""
    total, series = collections.Counter(), collections.defaultdict(list)
    for step in range(steps):
        unusual = state(step)
        if unusual is None:
            # A replica that returns starts from zero. Prometheus marks its series as stale meanwhile.
            for values in series.values():
                values.append("stale" if values[-1] not in ("stale", "_") else "_")
            total.clear()
            continue
        now = {**USUAL, **unusual}
        total.update({name: now[name] for name in COUNTED}, steps=STEP * 5)
        for name, value in scrape(now, total):
            series[name] = series[name] or ["_"] * step
            series[name].append(value)
    target = f'namespace="chat",job="chat/warren",pod="{pod}",container="warren",endpoint="admin"'
    for name, values in series.items():
        name, _, labels = name.partition("{")
        labels = target + ("," + labels if labels else "}")
        yield {"series": f"{name}{{{labels}", "values": " ".join(map(str, values))}


def assert_fires(tmp_path, minutes, states, now=None, ever=None):
    """Asserts the number of firing alerts by name: `ever` over the whole time, `now` at given minutes."""
    expressions = [(minute, 'count by (alertname) (ALERTS{alertstate="firing"})', alerts)
                   for minute, alerts in (now or {}).items()]
    expressions.append(
        (minutes, 'count by (alertname) (max_over_time(ALERTS{alertstate="firing"}[3h]))', ever or {}))
    series = [each for pod, state in zip(PODS, states)
              for each in replica(pod, at(minutes), state)]
    tests = [{"expr": expression, "eval_time": f"{int(minute * 60)}s",
              "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": count}
                              for name, count in alerts.items()]}
             for minute, expression, alerts in expressions]
    file = tmp_path / "situation.yaml"
    file.write_text(yaml.safe_dump({
        "rule_files": [str(RULES)], "evaluation_interval": f"{STEP}s",
        "tests": [{"interval": f"{STEP}s", "input_series": series, "promql_expr_test": tests}]}))
    promtool("test", "rules", file)


def at(minute):
    """The step at a minute."""
    return int(minute * 60 / STEP)


def test_installation_fires_nothing(tmp_path):
    # RabbitMQ needs six minutes, and then all clients connect within one.
    def state(step):
        if step < at(6):
            return {"up": 0, "connections": 0, "opened": 0, "by_client": 0, "confirmed": 0, "consumed": 0}
        arrived = min(1000, 250 * (step - at(6)))
        return {"connections": arrived, "opened": 250 if 0 < arrived < 1000 else 1}

    assert_fires(tmp_path, 70, [state] * 3)


def test_killed_replica_that_restarts_fires_nothing(tmp_path):
    killed, back = at(15), at(15.5)

    def other(step):
        if step <= killed:
            return {}
        return {"connections": 1500, "opened": 500 if step == killed + 1 else 1}

    def itself(step):
        if step < killed:
            return {}
        if step < back:
            return None
        # Only new clients connect to it: existing ones do not move.
        return {"born": back * STEP, "up": int(step > back), "consumed": 9 * (step > back),
                "connections": min(1000, 4 * (step - back)), "opened": 4, "by_client": 0}

    assert_fires(tmp_path, 70, [other, other, itself])


def test_scaling_from_two_to_six_fires_nothing(tmp_path):
    scaled = at(10)

    def old(step):
        return {"connections": 9000}

    def new(step):
        if step < scaled:
            return None
        # New clients are distributed evenly.
        return {"born": scaled * STEP, "up": int(step > scaled), "connections": step - scaled,
                "by_client": 0}

    assert_fires(tmp_path, 70, [old] * 2 + [new] * 4)


def test_rolling_update_fires_nothing(tmp_path):
    # The replicas drain one by one within a minute, and their clients move to the replacement.
    def old(n):
        stopped = at(10) + 5 * n

        def state(step):
            if step > stopped + 4:
                return None
            phase = "running" if step < stopped else "unready" if step == stopped else "draining"
            return {"phase": phase, "connections": min(1000, 1000 - 250 * (step - stopped))}
        return state

    def new(n):
        stopped, born = at(10) + 5 * n, at(9.5) + 5 * n

        def state(step):
            if step < born:
                return None
            arrived = max(0, min(1000, 250 * (step - stopped)))
            return {"born": born * STEP, "up": int(step > born), "connections": arrived,
                    "opened": 250 if 0 < arrived <= 1000 and step <= stopped + 4 else 1, "by_client": 0}
        return state

    assert_fires(tmp_path, 70, [old(n) for n in range(3)] + [new(n) for n in range(3)])


def outage(begin, end):
    """RabbitMQ is unavailable. Before that, it does not answer for ten seconds; afterwards, messages that
    waited are late."""
    def state(step):
        if begin <= step < end:
            return {"up": 0, "confirmed": 0, "consumed": 0, "timed_out": 75 if step > begin else 0,
                    "misses": 2 if step == begin else 0}
        return {"confirmed": 125, "late": 50} if step == end else {}
    return state


def test_rabbitmq_outage_fires_no_rabbitmq_and_publish_failures(tmp_path):
    no_rabbitmq, failures = {"WarrenNoRabbitMQ": 3}, {"WarrenPublishFailures": 3}
    assert_fires(tmp_path, 40, [outage(at(10), at(15))] * 3, ever={**no_rabbitmq, **failures}, now={
        10.75: {}, 11: no_rabbitmq, 14.75: {**no_rabbitmq, **failures}, 15: failures, 17.25: {}})


def test_rabbitmq_restart_within_45_seconds_fires_nothing(tmp_path):
    assert_fires(tmp_path, 30, [outage(at(10), at(10.75))] * 3)


def test_one_disconnected_replica_fires_for_that_replica(tmp_path):
    assert_fires(tmp_path, 30, [outage(at(10), at(15)), lambda step: {}, lambda step: {}],
         ever={"WarrenNoRabbitMQ": 1, "WarrenPublishFailures": 1})


def test_rabbitmq_alarm_fires_once_and_publish_failures(tmp_path):
    # The connections are open, and no canaries are sent.
    def state(step):
        if at(10) <= step < at(15):
            return {"blocked": STEP, "confirmed": 0, "timed_out": 75 if step > at(10) else 0}
        return {"confirmed": 125, "late": 50} if step == at(15) else {}

    alarm, failures = {"WarrenRabbitMQAlarm": 1}, {"WarrenPublishFailures": 3}
    assert_fires(tmp_path, 40, [state] * 3, ever={**alarm, **failures},
         now={11.5: alarm, 14.75: {**alarm, **failures}, 17.25: {}})


def test_slow_rabbitmq_fires_confirm_latency(tmp_path):
    def state(step):
        return {"late": 30} if at(10) <= step < at(20) else {}

    assert_fires(tmp_path, 40, [state] * 3, ever={"WarrenConfirmLatency": 3})
