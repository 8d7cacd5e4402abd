"""A code from the app or from paper."""

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django_otp.models import Device

from annotation import second_factor
from annotation.second_factor import Offer

WRONG = "This code is not right. The app shows a new one every 30 seconds: wait for the next and type it."


def device_behind(code: str, user: User) -> Device:
    """The user's device that the code comes from. The code is used up then.

    Raises:
        ValidationError: "wrong", or "wait" after a wrong one.
    """
    device = second_factor.device_for(user, code)
    seconds = second_factor.wait(device) if device else 0
    if seconds:
        raise forms.ValidationError(f"Please wait {seconds} s after a wrong code, then try again.", code="wait")
    if device is None or not second_factor.verified(device, code):
        raise forms.ValidationError(WRONG, code="wrong")
    return device


class CodeForm(forms.Form):
    """Opens the door with the user's own device; `device` is then the one that did."""

    code = forms.CharField(max_length=40)

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        self.device: Device | None = None

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        self.device = device_behind(code, self.user)
        return code


class SetUpForm(forms.Form):
    """Accepts an offered secret, in place of what is in use where a code of that is given too."""

    code = forms.CharField(max_length=40)
    old_code = forms.CharField(max_length=40)

    def __init__(self, *args: Any, offer: Offer, asks_old_code: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer = offer
        if not asks_old_code:
            del self.fields["old_code"]

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        if not self.offer.accepts(second_factor.bare(code)):
            raise forms.ValidationError(WRONG)
        return code

    def clean_old_code(self) -> str:
        """Looked at last, since it is used up then."""
        code: str = self.cleaned_data["old_code"]
        if "code" in self.cleaned_data:
            device_behind(code, self.offer.user)
        return code
