"""The study's records, by subject."""

from annotation.models.audit import AuditEvent
from annotation.models.comparison import Assignment, Choice, Comparison, Verdict
from annotation.models.content import Prompt, Response, Split, System, SystemKind
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
    "ItemKind",
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
    "Response",
    "Split",
    "Study",
    "StudyStatus",
    "System",
    "SystemKind",
    "TaskResponse",
    "Verdict",
]
