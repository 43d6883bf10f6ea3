"""The JSON of the API as structs: requests and replies.

This package imports nothing else of the product, so that the dashboard can use it without loading the sidecar. Times
are RFC 3339 text in UTC, trace and span ids are lower-case hex, positions are text, and absent is null.
"""

from __future__ import annotations

from sidecar.api.models.aggregates import AggregateModel, AggregateNoteModel, AggregateStepModel
from sidecar.api.models.base import ApiModel, Problem
from sidecar.api.models.catalog import CatalogEntryModel, CatalogPage, SchemaUseModel
from sidecar.api.models.dead_letters import (
    CauseModel,
    CausePage,
    ChangeModel,
    DeadLetterModel,
    DeadLetterPage,
    LedgerActionModel,
    RootCauseModel,
)
from sidecar.api.models.events import (
    CoverageModel,
    DroppedModel,
    EventModel,
    EventPage,
    Header,
    HistoryExtentModel,
    RejectionModel,
    ScanEndModel,
    ScanProgressModel,
    SchemaRefModel,
)
from sidecar.api.models.flows import FlowEventModel, FlowModel, FlowPageModel
from sidecar.api.models.groups import (
    DeliveryModel,
    FlowDeliveryModel,
    GroupModel,
    GroupPage,
    GroupStopModel,
    GroupStreamModel,
)
from sidecar.api.models.lint import LintFindingModel, LintPage, LintRuleModel
from sidecar.api.models.sagas import (
    LearnedSagaModel,
    LearnedSagaPage,
    LearnedStepModel,
    SagaModel,
    SagaObstacleModel,
    SagaPage,
    SagaStepModel,
    SagaVariantModel,
)
from sidecar.api.models.schemas import (
    SchemaCheckRequest,
    SchemaCheckResult,
    SchemaFaultModel,
    SeenSchemaModel,
    SubjectModel,
    SubjectPage,
)
from sidecar.api.models.sql import SqlAnswerModel, SqlColumnModel, SqlRequestModel
from sidecar.api.models.status import (
    DemoSummary,
    ExporterStatus,
    FindingModel,
    HoldModel,
    IndexStatus,
    LiveStatus,
    MemberModel,
    MemberShareModel,
    PartitionLagModel,
    RegistryStatus,
    ReleaseResult,
    ServiceStatus,
    StreamPage,
    StreamStatusModel,
)

__all__ = [
    "AggregateModel",
    "AggregateNoteModel",
    "AggregateStepModel",
    "ApiModel",
    "CatalogEntryModel",
    "CatalogPage",
    "CauseModel",
    "CausePage",
    "ChangeModel",
    "CoverageModel",
    "DeadLetterModel",
    "DeadLetterPage",
    "DeliveryModel",
    "DemoSummary",
    "DroppedModel",
    "EventModel",
    "EventPage",
    "ExporterStatus",
    "FindingModel",
    "FlowDeliveryModel",
    "FlowEventModel",
    "FlowModel",
    "FlowPageModel",
    "GroupModel",
    "GroupPage",
    "GroupStopModel",
    "GroupStreamModel",
    "Header",
    "HistoryExtentModel",
    "HoldModel",
    "IndexStatus",
    "LearnedSagaModel",
    "LearnedSagaPage",
    "LearnedStepModel",
    "LedgerActionModel",
    "LintFindingModel",
    "LintPage",
    "LintRuleModel",
    "LiveStatus",
    "MemberModel",
    "MemberShareModel",
    "PartitionLagModel",
    "Problem",
    "RegistryStatus",
    "RejectionModel",
    "ReleaseResult",
    "RootCauseModel",
    "SagaModel",
    "SagaObstacleModel",
    "SagaPage",
    "SagaStepModel",
    "SagaVariantModel",
    "ScanEndModel",
    "ScanProgressModel",
    "SchemaCheckRequest",
    "SchemaCheckResult",
    "SchemaFaultModel",
    "SchemaRefModel",
    "SchemaUseModel",
    "SeenSchemaModel",
    "ServiceStatus",
    "SqlAnswerModel",
    "SqlColumnModel",
    "SqlRequestModel",
    "StreamPage",
    "StreamStatusModel",
    "SubjectModel",
    "SubjectPage",
]
