"""`make profile`: where the processor time of an event goes, stage by stage, in the product as it is started.

A sampling profile: every millisecond of the process' own time, the innermost function of a known stage is counted. It
changes nothing about the code that runs, and its sum is the µs of an event that `make bench` measures."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

from tests.bench import event_producer, otlp_collector
from tests.bench.__main__ import kafka, valkey
from tests.bench.ours import configuration, measure

SAMPLE_S = 0.001
STAGES: tuple[tuple[str, str], ...] = (
    ("sidecar/adapters/brokers/kafka/committer", "commit"),
    ("sidecar/adapters/brokers/redis/committer", "commit"),
    ("sidecar/adapters/brokers/kafka/transactions", "commit"),
    ("sidecar/adapters/brokers/kafka/idempotent_producer", "commit"),
    ("sidecar/pipeline/committer", "commit"),
    ("sidecar/pipeline/output_router", "commit"),
    ("sidecar/dead_letters/", "commit"),
    ("sidecar/adapters/brokers/kafka/record_", "record decoding"),
    ("sidecar/adapters/brokers/kafka/decompression", "record decoding"),
    ("sidecar/adapters/brokers/redis/entry_codec", "record decoding"),
    ("aiokafka/record/", "record decoding"),
    ("sidecar/adapters/brokers/", "fetch"),
    ("sidecar/adapters/redis_client/", "fetch"),
    ("aiokafka/", "fetch"),
    ("redis/", "fetch"),
    ("sidecar/decoding/formats/avro/json_", "checks"),
    ("sidecar/decoding/subject_cache", "checks"),
    ("sidecar/decoding/formats/", "event decoding"),
    ("<generated from an Avro", "event decoding"),
    ("sidecar/decoding/payload", "event decoding"),
    ("sidecar/decoding/decoder", "decoding loop"),
    ("sidecar/decoding/", "envelope"),
    ("sidecar/adapters/index/", "index"),
    ("<generated from Event", "index"),
    ("sidecar/domain/redaction", "index"),
    ("exporters/", "export"),
    ("sidecar/pipeline/", "pipeline"),
)
"""The stage of a function by the path of its file; the first that fits counts."""
ORDER = (
    *("fetch", "record decoding", "decoding loop", "event decoding", "envelope", "checks", "pipeline", "index"),
    *("export", "commit", "event loop and other"),
)
KINDS = {"plain": {}, "rejected": {"broken": 0.01}, "mixed": {"mixed": True}, "json": {"json_only": True}}


class StageSampler:
    """Counts samples by stage and by function."""

    def __init__(self) -> None:
        self.stages: Counter[str] = Counter()
        self.functions: Counter[tuple[str, str]] = Counter()
        self._stage_by_code: dict[CodeType, str | None] = {}

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _sample(self, number: int, frame: FrameType | None) -> None:
        while frame is not None:
            code = frame.f_code
            if code not in self._stage_by_code:
                self._stage_by_code[code] = next((stage for path, stage in STAGES if path in code.co_filename), None)
            stage = self._stage_by_code[code]
            if stage is not None:
                place = f"{Path(code.co_filename).stem}.{code.co_qualname.replace('<locals>.', '')}:{frame.f_lineno}"
                self.stages[stage] += 1
                self.functions[stage, place] += 1
                return
            frame = frame.f_back
        self.stages[ORDER[-1]] += 1

    def report(self, micros: float, lines: int) -> str:
        """A table of the stages, in the order of an event's way, with the lines that take the most."""
        total = self.stages.total()
        text = [f"{'stage':22} {'µs':>7} {'share':>7}"]
        for stage in ORDER:
            share = self.stages[stage] / total
            text.append(f"{stage:22} {share * micros:7.2f} {share:7.1%}")
            most = Counter({place: count for (of, place), count in self.functions.items() if of == stage})
            text += [f"    {count / total * micros:6.2f}  {place}" for place, count in most.most_common(lines)]
        return "\n".join([*text, f"{'an event':22} {micros:7.2f}", f"({total:,} samples)"])


def main() -> None:
    import uvloop

    from sidecar.runtime.gc_tuning import tune_gc

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", choices=("kafka", "redis"), default="kafka")
    parser.add_argument("--kind", choices=KINDS, default="plain", help="the events on the stream")
    parser.add_argument("--export", action="store_true", help="with OTLP export")
    parser.add_argument("--shared", action="store_true", help="with the shared index")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--lines", type=int, default=3, help="lines of code for each stage")
    options = parser.parse_args()
    server = kafka if options.system == "kafka" else valkey
    with server() as address, valkey() as index, otlp_collector.collector() as collector:
        print(f"loading {options.events:,} events", file=sys.stderr)
        event_producer.load(options.system, address, "profile", options.events, partitions=4, **KINDS[options.kind])
        given = {"system": options.system, "address": address, "stream": "profile", "group": "profile"}
        if options.export:
            given["exporters"] = {"otlp": {"endpoint": collector.endpoint, "protocol": "grpc"}}
        if options.shared:
            given["index"] = {"redis": {"url": index}}
        with tempfile.TemporaryDirectory() as directory:
            file = configuration(given, Path(directory))
            tune_gc()
            sampler = StageSampler()
            found = uvloop.run(measure(file, options.events, sampler.start))
            sampler.stop()
    print(sampler.report(found["cpu_us"], options.lines))
    print(f"{found['rate']:,.0f} events/s, longest step of the event loop {found['step_ms']:.1f} ms")


if __name__ == "__main__":
    main()
