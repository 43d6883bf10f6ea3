"""`make bench`: Tracecar beside the loop that anyone would write by hand, in turns, on the same real servers.

Machines are noisy, so what counts are ratios of processor time (user and system) within one run. Every measured side
is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import event_producer, hostile, otlp_collector, report, shared, size

Result = dict[str, Any]


KINDS = (
    "kafka",
    "redis",
    "further",
    "scan",
    "letters",
    "size",
    "idle",
    "latency",
    "export",
    "history",
    "insights",
    "shared",
    "dashboard",
    "hostile",
)


def side(module: str, **arguments: object) -> Result:
    """Run one measured side as a process of its own; it prints one JSON object as its last line."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{module}", json.dumps(arguments)],
        env=size.WITH_BYTECODE,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode != 0:
        sys.exit(f"bench: {module} {arguments} ended with {done.returncode}")
    result: Result = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def in_turns(rounds: int, bare: Callable[[int], Result], ours: Callable[[int], Result]) -> Result:
    """Both sides in turns; medians of rates and processor times, and the medians of their ratios round by round."""
    pairs: list[tuple[Result, Result]] = []
    for number in range(rounds):
        pair = bare(number), ours(number)
        pairs.append(pair)
        rates, times = ([side.get(name, 0.0) for side in pair] for name in ("rate", "cpu_us"))
        print(
            f"  round {number + 1}: bare {rates[0]:,.0f}/s and {times[0]:.1f} µs, ours {rates[1]:,.0f}/s and "
            f"{times[1]:.1f} µs; ratio of rates {rates[1] / rates[0]:.2f}, of time {times[1] / (times[0] or 1):.2f}, "
            f"longest step {pair[1].get('step_ms', 0):.1f} ms"
        )
    result = {
        "bare": statistics.median(bare["rate"] for bare, _ in pairs),
        "ours": statistics.median(ours["rate"] for _, ours in pairs),
        "ratio": statistics.median(ours["rate"] / bare["rate"] for bare, ours in pairs),
    }
    if all("cpu_us" in side for pair in pairs for side in pair):
        result["bare_us"] = statistics.median(bare["cpu_us"] for bare, _ in pairs)
        result["our_us"] = statistics.median(ours["cpu_us"] for _, ours in pairs)
        result["cost"] = statistics.median(ours["cpu_us"] / bare["cpu_us"] for bare, ours in pairs)
    if any("step_ms" in ours for _, ours in pairs):
        result["step_ms"] = max(ours.get("step_ms", 0.0) for _, ours in pairs)
    return result


@contextmanager
def kafka() -> Iterator[str]:
    from sidecar.demo.embedded_kafka import EmbeddedKafka

    with EmbeddedKafka() as server:
        yield server.bootstrap_servers


@contextmanager
def valkey() -> Iterator[str]:
    from sidecar.demo.embedded_valkey import EmbeddedValkey

    with EmbeddedValkey() as server:
        yield server.url


def throughput(system: str, address: str, options: argparse.Namespace) -> Iterator[Result]:
    """The rows that have a bound: plain, with 1 % rejected, and on Kafka JSON that is checked against Avro."""
    for name, load, bound in (
        ("plain", {}, 0.65),
        ("1 % rejected", {"broken": 0.01}, 0.75),
        ("JSON checked against Avro", {"json_only": True}, 1.0),
    ):
        if system == "redis" and "json_only" in load:
            continue
        stream = f"bench.{system}.{name.split()[0].replace('1', 'broken').lower()}"
        print(f"{system}, {name}: loading {options.events:,} events")
        event_producer.load(system, address, stream, options.events, partitions=4, **load)
        run: dict[str, object] = {"system": system, "address": address, "stream": stream, "events": options.events}
        ours: list[Result] = []

        def our_turn(number: int, run: dict[str, object] = run, ours: list[Result] = ours) -> Result:
            ours.append(side("ours", **run, group=f"ours-{number}"))
            return ours[-1]

        yield {
            "what": f"{system}: the full way, {name}",
            "bound": bound,
            **in_turns(
                options.rounds,
                lambda number, run=run: side("bare", **run, group=f"bare-{number}"),  # type: ignore[misc]
                our_turn,
            ),
        }
        if system == "kafka" and name == "plain":
            yield {
                "what": "kafka: the full way, plain, beside a bare confluent-kafka loop",
                **in_turns(
                    options.rounds,
                    lambda number, run=run: side("bare", **run, group=f"bare-c-{number}", client="confluent"),  # type: ignore[misc]
                    ours.__getitem__,
                ),
            }


FURTHER: tuple[tuple[str, str, dict[str, Any] | None, dict[str, Any]], ...] = (
    ("kafka: 12 partitions", "bench.wide", {"partitions": 12}, {}),
    ("kafka: through a gate", "bench.wide", None, {"gate": True}),
    ("kafka: two sidecars in the group", "bench.wide", None, {"members": 2}),
    ("kafka: mixed codecs and framings with JSON", "bench.mixed", {"partitions": 4, "mixed": True}, {}),
)
"""Rows without a bound: what they are called, their stream, how it is loaded (None: it is there), and our own."""


def further(address: str, options: argparse.Namespace) -> Iterator[Result]:
    for number, (what, stream, load, own) in enumerate(FURTHER):
        if load is not None:
            print(f"{what}: loading {options.events:,} events")
            event_producer.load("kafka", address, stream, options.events, **load)
        run = {"system": "kafka", "address": address, "stream": stream, "events": options.events}

        def bare(turn: int, run: Result = run, number: int = number) -> Result:
            return side("bare", **run, group=f"bare-{number}-{turn}")

        def ours(turn: int, run: Result = run, number: int = number, own: Result = own) -> Result:
            return side("ours", **run, **own, group=f"ours-{number}-{turn}")

        yield {"what": what, **in_turns(max(1, options.rounds // 2), bare, ours)}


def scanned(address: str, options: argparse.Namespace) -> Iterator[Result]:
    """A scan of the broker beside the pipeline, over the same stream."""
    stream = "bench.kafka.scanned"
    print(f"kafka, scan: loading {options.events:,} events")
    event_producer.load("kafka", address, stream, options.events, partitions=4)
    run: dict[str, object] = {"system": "kafka", "address": address, "stream": stream, "events": options.events}
    yield {
        "what": "kafka: a scan that reads every event, beside the full way",
        "bound": 1.0,
        **in_turns(
            max(1, options.rounds // 2),
            lambda number: side("ours", **run, group=f"ours-scanned-{number}"),
            lambda number: side("scan", **run, group=f"scan-{number}"),
        ),
    }


LETTERS, HISTORY_EVENTS = 100_000, 20_000_000


def dead_letters(address: str, options: argparse.Namespace, decoding: Result) -> Iterator[Result]:
    listing: list[float] = []
    rounds = max(2, options.rounds // 2)

    def work(what: str, stream: str, **more: object) -> Result:
        return side("letters", work=what, address=address, stream=stream, **more)

    def reading(number: int) -> Result:
        found = work("read_ours", "bench.letters")
        listing.append(found["listing_s"])
        return found

    print("dead letters: loading")
    work("load", "bench.letters", count=LETTERS)
    for number in range(rounds):
        work("load", f"bench.replay.{number}", count=50_000)
    yield {
        "what": "kafka: dead letters read as causes",
        "bound": 0.40,
        "bound_on": "ratio",
        **in_turns(rounds, lambda _: work("read_bare", "bench.letters"), reading),
    }
    yield {
        "what": "causes of 100,000 letters once read",
        "value": statistics.median(listing),
        "unit": "s",
        **report.in_units(statistics.median(listing) * 1e6, 4, decoding, LETTERS),
    }
    yield {
        "what": "kafka: replay of 50,000 letters beside a bare transactional copy",
        "bound": 0.30,
        "bound_on": "ratio",
        **in_turns(
            rounds,
            lambda number: work("copy_bare", f"bench.replay.{number}"),
            lambda number: work("replay_ours", f"bench.replay.{number}"),
        ),
    }


def exported(address: str, options: argparse.Namespace) -> Iterator[Result]:
    """The full way with every event's span sent to a collector, none of them lost."""
    stream = "bench.kafka.exported"
    print(f"kafka, with OTLP export: loading {options.events:,} events")
    event_producer.load("kafka", address, stream, options.events, partitions=4)
    run: dict[str, object] = {"system": "kafka", "address": address, "stream": stream, "events": options.events}
    with otlp_collector.collector() as collector:
        otlp = {"endpoint": collector.endpoint, "protocol": "grpc"}

        def ours(number: int) -> Result:
            result = side("ours", **run, group=f"ours-exported-{number}", exporters={"otlp": otlp})
            if (arrived := collector.spans()) != options.events:
                sys.exit(f"bench: of {options.events:,} spans {arrived:,} arrived")
            return result

        yield {
            "what": "kafka: the full way, with OTLP export",
            "bound": 0.85,
            **in_turns(options.rounds, lambda number: side("bare", **run, group=f"bare-exported-{number}"), ours),
        }


def kept_in_history(address: str, options: argparse.Namespace, decoding: Result) -> Iterator[Result]:
    """The full way with a history beside that without, and the costs of writing and looking up."""
    stream = "bench.kafka.history"
    print(f"kafka, with a history: loading {options.events:,} events")
    event_producer.load("kafka", address, stream, options.events, partitions=4)
    run: dict[str, object] = {"system": "kafka", "address": address, "stream": stream, "events": options.events}
    yield {
        "what": "kafka: the full way with a history, beside that without",
        "bound": 0.85,
        "bound_on": "ratio",
        **in_turns(
            options.rounds,
            lambda number: side("ours", **run, group=f"ours-without-{number}"),
            lambda number: side("ours", **run, group=f"ours-with-{number}", history=True),
        ),
    }
    print(f"history: writing {options.events:,} events, and looking up among {HISTORY_EVENTS:,}")
    measured = side("history", events=options.events, looked_up=HISTORY_EVENTS)
    way, whole = measured["way_us"], measured["all_us"]
    # Bounds of 3 and 6 µs on a core that decodes an event in 4.5 µs.
    yield {
        "what": "history: on the way of an event",
        "value": way,
        "unit": "µs",
        **report.in_units(way, 0.67, decoding),
    }
    what = "history: an event, with staging, files, filters and compaction"
    yield {"what": what, "value": whole, "unit": "µs", **report.in_units(whole, 1.33, decoding)}
    yield {"what": "history: an event on disk, without body", "value": measured["bytes"], "unit": "bytes", "bound": 70}
    among = f"in {HISTORY_EVENTS // 1_000_000} million events, cold"
    for what, name, unit, bound in (
        (f"history: events of an id {among}, median", "median_ms", "ms", 300),
        (f"history: events of an id {among}, p99", "p99_ms", "ms", 1_000),
        (f"history: SQL, the last hour by type and minute {among}", "last_hour_s", "s", 1),
    ):
        yield {"what": what, "value": measured[name], "unit": unit, "bound": bound}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=330_000, help="events a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=2, help="how long the dashboard stands in a flood")
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    wanted = set(options.only or KINDS)
    began, rows = time.monotonic(), []

    decoding = side("unit")
    print(f"unit: the bare decoding of an event takes {decoding['value']:.2f} µs of processor time")
    if "size" in wanted:
        rows += side("size")["rows"]
    if wanted & {"kafka", "further", "scan", "idle", "latency", "letters", "export"}:
        with kafka() as address:
            if "kafka" in wanted:
                rows += list(throughput("kafka", address, options))
            if "further" in wanted:
                rows += list(further(address, options))
            if "scan" in wanted:
                rows += list(scanned(address, options))
            if "idle" in wanted:
                rows += side("idle", system="kafka", address=address, stream="bench.idle", group="idle")["rows"]
            if "letters" in wanted:
                rows += list(dead_letters(address, options, decoding))
            if "export" in wanted:
                rows += side("export_cost")["rows"]
                rows += exported(address, options)
            if "latency" in wanted:
                rows += side("latency", address=address, events=options.events, decoding=decoding)["rows"]
    if "history" in wanted:
        with kafka() as address:
            rows += kept_in_history(address, options, decoding)
    if "insights" in wanted:
        rows += side("insights")["rows"]
    if "shared" in wanted:
        with kafka() as address, valkey() as index:
            rows += list(shared.rows(address, index, options, side, in_turns, decoding))
    if "hostile" in wanted:
        with kafka() as address:
            rows += list(hostile.rows(address, side))
    if "redis" in wanted:
        with valkey() as address:
            rows += list(throughput("redis", address, options))
    if "dashboard" in wanted:
        with valkey() as address:
            rows += side("dashboard", address=address, minutes=options.minutes)["rows"]

    table = report.table(rows)
    print(f"\n{table}\n\n{time.monotonic() - began:.0f} s in all")
    if options.readme:
        report.put(table, Path("README.md"))
    if missed := report.missed(rows):
        sys.exit("bench: below its bound: " + "; ".join(missed))


if __name__ == "__main__":
    main()
