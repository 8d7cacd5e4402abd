"""What the team enters about a design: the plan to draw, and the assumptions its precision is simulated from."""

from typing import Any

from django import forms
from django.contrib.auth.models import AnonymousUser, User
from django.core.files.uploadedfile import UploadedFile

from annotation.calibration import CalibrationPair, parse_calibration
from annotation.designs import RANGES, DesignPlan, draw_design
from annotation.errors import StudyError
from annotation.models import JudgingDesign, Response, Split, Study, StudyStatus, System
from annotation.roles import within_reach

LARGEST_FILE = 1_000_000


class StudyForm(forms.Form):
    """The study that an address such as add/?study=3 names."""

    study = forms.ModelChoiceField(Study.objects.none(), empty_label=None)

    def __init__(self, *args: Any, user: User | AnonymousUser, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        unlocked = Study.objects.exclude(status=StudyStatus.LOCKED)
        designable = within_reach(unlocked, user, "annotation.add_judgingdesign", "pk")
        self.fields["study"].queryset = designable  # type: ignore[attr-defined]  # It chooses among records.


def number_field(name: str, **kwargs: Any) -> forms.IntegerField:
    least, most = RANGES[name]
    return forms.IntegerField(min_value=least, max_value=most, **kwargs)


class DesignForm(forms.Form):
    name = forms.SlugField(max_length=60, initial="main", help_text="Once a study: letters, digits, - and _")
    systems = forms.ModelMultipleChoiceField(
        System.objects.none(), widget=forms.CheckboxSelectMultiple, help_text="Those with responses to test prompts"
    )
    baseline = forms.ModelChoiceField(
        System.objects.none(),
        required=False,
        empty_label="No: compare all pairs of systems",
        label="Compare each other system with one",
    )
    prompts = number_field("prompts")
    raters_per_pair = number_field(
        "raters_per_pair", required=False, label="Clinicians a pair", help_text="Leave empty for all of them"
    )
    repeated_pairs = number_field(
        "repeated_pairs",
        initial=0,
        help_text="Pairs each clinician sees twice, for the reliability within clinicians",
    )
    calibration = forms.FileField(
        required=False, label="Calibration pairs", help_text="A TOML file as fixtures/demo/calibration.toml"
    )
    seed = number_field("seed", help_text="Draws prompts, orders, overlap and repeats")

    def __init__(self, *args: Any, study: Study, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.study = study
        answers = Response.objects.filter(prompt__study=study, prompt__split=Split.TEST, number=1)
        systems = study.systems.filter(pk__in=answers.values("system"))
        for name in ("systems", "baseline"):
            self.fields[name].queryset = systems  # type: ignore[attr-defined]  # Both choose among records.
        there = study.prompts.filter(split=Split.TEST).count()
        self.fields["prompts"].help_text = f"Drawn from the {there} of the test split, in proportion to its strata"
        self.fields["seed"].initial = study.seed

    def clean_calibration(self) -> list[CalibrationPair]:
        file: UploadedFile[Any] | None = self.cleaned_data["calibration"]
        if file is None:
            return []
        if (file.size or 0) > LARGEST_FILE:
            raise forms.ValidationError("The file is larger than 1 MB: is it the right one?")
        try:
            return parse_calibration(file.read().decode(), where=file.name or "the file")
        except UnicodeDecodeError as error:
            raise forms.ValidationError("The file is not UTF-8 text.") from error
        except StudyError as error:
            raise forms.ValidationError(str(error)) from error

    def draw(self, *, by: User) -> JudgingDesign | None:
        """The design drawn; null where it cannot be, and the form then says why."""
        try:
            return draw_design(self.study, DesignPlan(**self.cleaned_data), by=by)
        except StudyError as error:
            self.add_error(None, str(error))
            return None


class OpeningForm(forms.Form):
    sure = forms.BooleanField(label="I have read this page. What clinicians were given is never redrawn.")


class AssumptionsForm(forms.Form):
    """How many clinicians there will be, and what they are assumed to say; shares in percent."""

    raters = forms.IntegerField(min_value=1, max_value=1000, label="Clinicians in all")
    a = forms.FloatField(min_value=0, max_value=100, label="Better: one system, %")
    tie = forms.FloatField(min_value=0, max_value=100, label="Tie, %")
    b = forms.FloatField(min_value=0, max_value=100, label="Better: the other, %")
    beyond_chance = forms.FloatField(min_value=0, max_value=1, label="Agreement beyond chance, 0 to 1")

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        shares = [given[name] for name in ("a", "tie", "b") if name in given]
        if len(shares) == 3 and abs(sum(shares) - 100) > 1e-8:
            raise forms.ValidationError(f"The three shares add up to {sum(shares):g} %, not to 100 %.")
        return given
