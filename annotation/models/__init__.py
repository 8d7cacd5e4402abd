"""The study's records, by subject."""

from annotation.models.audit import AuditEvent, VerdictEvent
from annotation.models.comparison import (
    Assignment,
    Choice,
    Comparison,
    FlagKind,
    JudgingDesign,
    ReferenceVerdict,
    SafetyFlag,
    Side,
    Verdict,
    Winner,
)
from annotation.models.content import Prompt, Response, Split, System, SystemKind
from annotation.models.membership import Membership, Role
from annotation.models.questionnaire import Answer, ItemKind, QuestionnaireItem
from annotation.models.ranking import RankedResponse, Ranking, RankingTask, TaskResponse
from annotation.models.rater import ConsentRecord, PanelLink, Participant, ParticipantStatus, Rater, RaterKind
from annotation.models.study import ConsentDocument, Criterion, Study, StudyStatus

__all__ = [
    "Answer",
    "Assignment",
    "AuditEvent",
    "Choice",
    "Comparison",
    "ConsentDocument",
    "ConsentRecord",
    "Criterion",
    "FlagKind",
    "ItemKind",
    "JudgingDesign",
    "Membership",
    "PanelLink",
    "Participant",
    "ParticipantStatus",
    "Prompt",
    "QuestionnaireItem",
    "RankedResponse",
    "Ranking",
    "RankingTask",
    "Rater",
    "RaterKind",
    "ReferenceVerdict",
    "Response",
    "Role",
    "SafetyFlag",
    "Side",
    "Split",
    "Study",
    "StudyStatus",
    "System",
    "SystemKind",
    "TaskResponse",
    "Verdict",
    "VerdictEvent",
    "Winner",
]
