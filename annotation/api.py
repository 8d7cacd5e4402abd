"""A read-only API for researchers' own scripts: studies, prompts, responses, submitted rankings. Each member of a team
reads what the role in the study allows.

Verdicts are not here: with them and the responses anyone could unblind a study that is still running.
"""

from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Prefetch, Q, QuerySet
from django.shortcuts import get_object_or_404
from rest_framework import routers, serializers, viewsets
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from annotation.models import Prompt, RankedResponse, Ranking, Response, Study
from annotation.roles import within_reach


class StudySerializer(serializers.ModelSerializer[Study]):
    criteria = serializers.SlugRelatedField(slug_field="key", many=True, read_only=True)  # type: ignore[var-annotated]
    prompt_count = serializers.IntegerField(read_only=True)
    participant_count = serializers.IntegerField(read_only=True)

    class Meta:
        model = Study
        fields = ["slug", "title", "status", "criteria", "prompt_count", "participant_count"]


class ResponseSerializer(serializers.ModelSerializer[Response]):
    system = serializers.SlugRelatedField(slug_field="name", read_only=True)  # type: ignore[var-annotated]

    class Meta:
        model = Response
        fields = ["key", "system", "number", "text", "sampling"]


class PromptSerializer(serializers.ModelSerializer[Prompt]):
    responses = ResponseSerializer(many=True, read_only=True)

    class Meta:
        model = Prompt
        fields = ["key", "text", "split", "topic", "risk", "responses"]


class RankingSerializer(serializers.ModelSerializer[Ranking]):
    prompt = serializers.CharField(source="task.prompt.key")
    criterion = serializers.CharField(source="criterion.key")
    rater = serializers.CharField(source="task.rater.name")
    simulated = serializers.BooleanField(source="task.rater.simulated")
    order = serializers.SerializerMethodField(help_text="Response keys, best first")

    class Meta:
        model = Ranking
        fields = ["prompt", "criterion", "rater", "simulated", "order", "seconds"]

    def get_order(self, ranking: Ranking) -> list[str]:
        return [row.response.key for row in ranking.ranked_responses.all()]


class ByRole(BasePermission):
    """For staff who have the view's permission; in which study, its queryset says."""

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        return isinstance(user, User) and user.is_staff and user.has_perm(view.permission)


class StudyViewSet(viewsets.ReadOnlyModelViewSet[Study]):
    serializer_class = StudySerializer
    permission_classes = [ByRole]
    permission = "annotation.view_study"
    lookup_field = "slug"

    def get_queryset(self) -> QuerySet[Study]:
        studies = Study.objects.prefetch_related("criteria").annotate(
            prompt_count=Count("prompts", distinct=True),
            participant_count=Count("raters", filter=Q(raters__kind="participant"), distinct=True),
        )
        return within_reach(studies, self.request.user, self.permission, "pk")


class OfStudy(viewsets.ReadOnlyModelViewSet[Any]):
    """Rows of the study in the address; 404 where the user has no part in it."""

    permission_classes = [ByRole]
    permission: str

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        studies = within_reach(Study.objects.all(), request.user, self.permission, "pk")
        self.study = get_object_or_404(studies, slug=self.kwargs["study"])


class PromptViewSet(OfStudy):
    serializer_class = PromptSerializer
    permission = "annotation.view_response"
    lookup_field = "key"

    def get_queryset(self) -> QuerySet[Prompt]:
        return Prompt.objects.filter(study=self.study).prefetch_related("responses__system")


class RankingViewSet(OfStudy):
    """Submitted rankings of raters who have not withdrawn; `?criterion=KEY` keeps one criterion's."""

    serializer_class = RankingSerializer
    permission = "annotation.view_ranking"

    def get_queryset(self) -> QuerySet[Ranking]:
        rankings = (
            Ranking.objects.submitted()
            .filter(task__prompt__study=self.study, task__rater__withdrawn_at__isnull=True)
            .select_related("task__prompt", "task__rater", "criterion")
            .prefetch_related(
                Prefetch("ranked_responses", RankedResponse.objects.select_related("response").order_by("rank"))
            )
            .order_by("pk")
        )
        criterion = self.request.query_params.get("criterion")
        return rankings.filter(criterion__key=criterion) if criterion else rankings


router = routers.SimpleRouter()
router.register("studies", StudyViewSet, "api-study")
router.register(r"studies/(?P<study>[-\w]+)/prompts", PromptViewSet, "api-prompt")
router.register(r"studies/(?P<study>[-\w]+)/rankings", RankingViewSet, "api-ranking")
