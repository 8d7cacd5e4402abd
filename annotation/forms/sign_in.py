"""A code from the app or from paper."""

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django_otp.models import Device

from annotation import second_factor
from annotation.second_factor import Offer

WRONG = "This code is not right. The app shows a new one every 30 seconds: wait for the next and type it."


class CodeForm(forms.Form):
    """Opens the door with the user's own device; `device` is then the one that did."""

    code = forms.CharField(max_length=40)

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        self.device: Device | None = None

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        device = second_factor.device_for(self.user, code)
        seconds = second_factor.wait(device) if device else 0
        if seconds:
            raise forms.ValidationError(f"Please wait {seconds} s after a wrong code, then try again.", code="wait")
        if device is None or not second_factor.verified(device, code):
            raise forms.ValidationError(WRONG, code="wrong")
        self.device = device
        return code


class SetUpForm(forms.Form):
    """Takes up an offered secret; `recovery_codes` are then the new ones."""

    code = forms.CharField(max_length=40)

    def __init__(self, *args: Any, offer: Offer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer = offer
        self.recovery_codes: list[str] = []

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        codes = self.offer.take_up(second_factor.bare(code))
        if codes is None:
            raise forms.ValidationError(WRONG)
        self.recovery_codes = codes
        return code
