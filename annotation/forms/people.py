"""Who is let into a study: members of the team and clinicians, named by user name, never picked from a list."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib.auth.models import User

from annotation.errors import StudyError
from annotation.models import Membership, Participant, Rater, RaterKind, StudyStatus
from annotation.roles import require_blind


class UserNameField(forms.CharField):
    """Becomes the active user of that name."""

    def clean(self, value: Any) -> Any:
        name = super().clean(value)
        user = User.objects.filter(username=name, is_active=True).first() if name else None
        if name and user is None:
            raise forms.ValidationError(f"There is no active user {name}. An administrator of the site makes users.")
        return user


class MembershipForm(forms.ModelForm):  # type: ignore[type-arg]
    user_name = UserNameField(help_text="Whoever becomes a member may enter the admin site")

    class Meta:
        model = Membership
        fields = ["role"]

    field_order = ["user_name", "role"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["user_name"] = forms.CharField(disabled=True, initial=self.instance.user.get_username())

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = self.cleaned_data
        # A study that is being made has no key yet, and nobody.
        user, study = given.get("user_name"), self.instance.study_id
        if self.instance.pk or not user:
            return given
        if Rater.objects.filter(study=study, user=user).exists():
            self.add_error("user_name", f"{user} is a clinician of this study and stays blind: choose someone else.")
        if Membership.objects.filter(study=study, user=user).exists():
            self.add_error("user_name", f"{user} is a member already: change the role there.")
        self.instance.user = user
        return given


class ClinicianForm(forms.ModelForm):  # type: ignore[type-arg]
    user_name = UserNameField(help_text="The login that an administrator of the site made for this clinician")

    class Meta:
        model = Rater
        fields = ["study", "name"]

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = self.cleaned_data
        user, study = given.get("user_name"), given.get("study")
        if not user or not study:
            return given
        if study.status == StudyStatus.LOCKED:
            self.add_error("study", "This study is locked: its clinicians can no longer change.")
        if Membership.objects.filter(study=study, user=user).exists():
            self.add_error("user_name", f"{user} is a member of this study's team, who may know the systems.")
        if Rater.objects.filter(study=study, user=user).exists():
            self.add_error("user_name", f"{user} is a clinician of this study already.")
        try:
            require_blind(user)
        except StudyError as error:
            self.add_error("user_name", f"{error}.")
        self.instance.user, self.instance.kind = user, RaterKind.CLINICIAN
        return given


class SureForm(forms.Form):
    """The study's short name, typed by whoever means it."""

    slug = forms.CharField(max_length=60, label="Short name of the study")

    def __init__(self, *args: Any, slug: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.wanted = slug

    def clean_slug(self) -> str:
        typed: str = self.cleaned_data["slug"]
        if typed != self.wanted:
            raise forms.ValidationError(f"This is not the short name. Type {self.wanted}.")
        return typed


class RandomIdForm(forms.Form):
    """The participant's random id, as they wrote it. The list names raters by pseudonym: a slip there would delete what
    somebody else gave."""

    random_id = forms.UUIDField(error_messages={"invalid": "This is not a random id. Copy it from what they wrote."})

    def __init__(self, *args: Any, participant: Participant, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.participant = participant

    def clean_random_id(self) -> UUID:
        typed: UUID = self.cleaned_data["random_id"]
        if typed != self.participant.public_id:
            raise forms.ValidationError(f"This is not the random id of {self.participant}. Look for it in the list.")
        return typed
