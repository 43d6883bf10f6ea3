"""Builds the services behind the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sidecar.api.http.app import ApiServices
from sidecar.api.mappers.events import EventMapper
from sidecar.api.services.aggregates.event_documents import DocumentReader
from sidecar.api.services.aggregates.moments import MomentParser
from sidecar.api.services.aggregates.reducers import build_local_reducers
from sidecar.api.services.aggregates.sequence import SequenceReader
from sidecar.api.services.aggregates.time_travel import AggregateTimeTravel, ReducerChoice
from sidecar.api.services.dead_letters import DeadLetterService
from sidecar.api.services.event_sampler import EventSampler
from sidecar.api.services.events import EventService
from sidecar.api.services.flows import FlowService
from sidecar.api.services.history import HistoryService
from sidecar.api.services.id_lookup import IdLookup
from sidecar.api.services.letter_queries import LetterQueryCompiler
from sidecar.api.services.origin_payloads import OriginPayloads
from sidecar.api.services.payloads import PayloadReader
from sidecar.api.services.picture.broker_fallback import BrokerFallback
from sidecar.api.services.picture.broker_search import BrokerSearch
from sidecar.api.services.picture.empty_history import EmptyHistory
from sidecar.api.services.picture.gatherer import EventGatherer
from sidecar.api.services.picture.picture import EventPicture
from sidecar.api.services.ports import DeadLetterSource, HeldStreams, MetricsWriter, StatusProvider
from sidecar.api.services.saga_monitor import SagaMonitor
from sidecar.api.services.sagas import SagaService
from sidecar.api.services.schema_check import SchemaCheckService
from sidecar.api.services.schemas import SchemaService
from sidecar.api.services.search import EventSearch, SearchableIndex
from sidecar.api.services.sql import SqlService
from sidecar.api.services.stream_visibility import StreamVisibility, WatchedStreams
from sidecar.api.services.streams import StreamService
from sidecar.api.services.subject_history import SubjectHistory
from sidecar.config.schema import Config
from sidecar.decoding.envelope.extractor import BUILT_IN_LOCATIONS
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.ports.broker import Broker
from sidecar.domain.ports.history import History
from sidecar.domain.ports.history_sql import HistorySql
from sidecar.domain.ports.reducer import Reducer
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.pipeline.live_stream import LiveStream
from sidecar.replay.ports import DeadLetterOperations
from sidecar.runtime.history_wiring import HistoryRecording, describe_history_settings, describe_writing
from sidecar.runtime.insight_wiring import build_catalog, build_lint


def build_letter_queries(
    brokers: Sequence[Broker], index: SearchableIndex, payloads: PayloadReader, mapper: EventMapper
) -> LetterQueryCompiler:
    """Build the compiler of queries of dead letters."""
    watched = WatchedStreams(brokers)
    return LetterQueryCompiler(
        search=EventSearch(index, payloads, mapper),
        payloads=payloads,
        origins=OriginPayloads(payloads, watched),
        watched=watched,
        mapper=mapper,
    )


def build_api_services(
    *,
    config: Config,
    build_reducer: Callable[[str], Reducer],
    brokers: Sequence[Broker],
    index: SearchableIndex,
    history: History | None,
    sql: HistorySql | None,
    recording: HistoryRecording | None,
    payloads: PayloadReader,
    mapper: EventMapper,
    catalog: SchemaCache,
    groups: ConsumerGroupTracker,
    live: LiveStream,
    letters: DeadLetterSource,
    queries: LetterQueryCompiler,
    operations: DeadLetterOperations,
    status: StatusProvider,
    metrics: MetricsWriter,
    held: HeldStreams,
    sagas: SagaMonitor | None,
) -> ApiServices:
    """Build the services of all routes. `build_reducer` builds a reducer from the name of a Python function."""
    visibility = StreamVisibility(status, letters)
    sampler = EventSampler(index, payloads, mapper)
    picture, ids = _build_picture(config, index, history, brokers, payloads, mapper)
    return ApiServices(
        events=EventService(
            index=picture,
            ids=ids,
            brokers=brokers,
            search=EventSearch(picture, payloads, mapper),
            payloads=payloads,
            mapper=mapper,
            visibility=visibility,
            groups=groups,
        ),
        flows=FlowService(index=picture, ids=ids, mapper=mapper, groups=groups, letters=letters),
        time_travel=_build_time_travel(config, build_reducer, picture, ids, payloads, mapper, visibility),
        dead_letters=DeadLetterService(
            letters=letters,
            queries=queries,
            origins=OriginPayloads(payloads, WatchedStreams(brokers)),
            mapper=mapper,
        ),
        schemas=SchemaService(catalog, index),
        schema_checks=SchemaCheckService(catalog, sampler, SubjectHistory(history, sql), mapper.redactor),
        sql=SqlService(sql),
        history=HistoryService(history, describe_history_settings(config), partial(describe_writing, recording)),
        catalog=build_catalog(config, index, sampler, mapper, catalog, groups),
        lint=build_lint(config, index, sampler, mapper, catalog, groups),
        sagas=SagaService(sagas, index, sampler, groups=groups, letters=letters, sql=sql),
        streams=StreamService(status=status, held=held, groups=groups),
        operations=operations,
        status=status,
        metrics=metrics,
        live=live,
        redactor=mapper.redactor,
    )


def _build_picture(
    config: Config,
    index: SearchableIndex,
    history: History | None,
    brokers: Sequence[Broker],
    payloads: PayloadReader,
    mapper: EventMapper,
) -> tuple[SearchableIndex, IdLookup]:
    """Build the read model: the index, with the history where one is configured, and the brokers behind them."""
    join, max_flow = config.correlation.join, config.correlation.max_flow
    inner: SearchableIndex = index
    build_gatherer: Callable[[], EventGatherer] = partial(EventGatherer, index, EmptyHistory(), join, max_flow)
    if history is not None:
        picture = EventPicture(index, history, join, max_flow)
        inner, build_gatherer = picture, picture.build_gatherer
    search = BrokerSearch(brokers, payloads, inner)
    whole = BrokerFallback(inner, search, build_gatherer, join, max_flow)
    return whole, IdLookup(whole, mapper.redactor, search)


def _build_time_travel(
    config: Config,
    build_reducer: Callable[[str], Reducer],
    index: SearchableIndex,
    ids: IdLookup,
    payloads: PayloadReader,
    mapper: EventMapper,
    visibility: StreamVisibility,
) -> AggregateTimeTravel:
    aggregates = config.aggregates
    sequence = SequenceReader(aggregates.sequence)
    functions = {name for name in (aggregates.reducer, *aggregates.reducers.values()) if ":" in name}
    places = [place for word in BUILT_IN_LOCATIONS for place in getattr(config.envelope, word)]
    return AggregateTimeTravel(
        index=index,
        ids=ids,
        documents=DocumentReader(payloads, mapper, sequence),
        sequence=sequence,
        moments=MomentParser(index, payloads, visibility),
        mapper=mapper,
        reducers=ReducerChoice(
            {**build_local_reducers(places), **{name: build_reducer(name) for name in functions}},
            aggregates.reducer,
            aggregates.reducers,
        ),
    )
