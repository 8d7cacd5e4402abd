"""The second factor of those who sign in: codes from an app on their phone (TOTP), and recovery codes on paper.

The app's secret has to be kept as it is; recovery codes are kept as keyed hashes.
"""

import math
from base64 import b32encode
from dataclasses import dataclass
from functools import cached_property

import segno
from django.contrib.auth.models import User
from django.core import signing
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django_otp import verify_token
from django_otp.models import Device
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp.util import random_hex

from annotation import user_trail

KINDS = (TOTPDevice, StaticDevice)
RECOVERY_CODES = 10
# A secret that was shown waits this long for its first code.
OFFER_SECONDS = 60 * 60


@dataclass(frozen=True)
class Offer:
    """A secret shown to a user, who may take it up with a code. Until then it stands nowhere but on the page."""

    user: User
    key: str  # hexadecimal

    @classmethod
    def new(cls, user: User) -> "Offer":
        return cls(user, random_hex(20))

    @classmethod
    def of(cls, user: User, seal: str) -> "Offer | None":
        """The offer that was made to the user as `seal`; null if none was, or too long ago."""
        try:
            pk, key = signing.loads(seal, salt=__name__, max_age=OFFER_SECONDS)
        except signing.BadSignature:
            return None
        return cls(user, key) if pk == user.pk else None

    @property
    def seal(self) -> str:
        return signing.dumps([self.user.pk, self.key], salt=__name__)

    @cached_property
    def device(self) -> TOTPDevice:
        return TOTPDevice(user=self.user, key=self.key, name="App")

    @property
    def secret(self) -> str:
        """As one types it into an app: groups of four."""
        return in_fours(b32encode(self.device.bin_key).decode())

    @property
    def qr_code(self) -> str:
        """A picture of the secret, as the address of an image."""
        return segno.make(self.device.config_url, error="m").svg_data_uri(scale=5, border=3, light="#fff")

    def accepts(self, code: str) -> bool:
        """Whether the app that was given the secret shows this code."""
        clock = TOTP(self.device.bin_key)
        if not code.isdecimal() or not clock.verify(int(code), tolerance=1):
            return False
        # This code is used up.
        self.device.last_t, self.device.drift, self.device.last_used_at = clock.t(), clock.drift, timezone.now()
        return True

    @transaction.atomic
    def take_up(self) -> list[str]:
        """Make it the user's second factor, in place of any before; the recovery codes."""
        if reset(self.user):
            user_trail.keep(self.user, "second_factor.replace", by=self.user)
        self.device.save()
        return new_recovery_codes(self.user)


def new_recovery_codes(user: User) -> list[str]:
    """Codes that let the user in once each, in place of those before."""
    codes = [in_fours(StaticToken.random_token()) for _ in range(RECOVERY_CODES)]
    with transaction.atomic():
        StaticDevice.objects.filter(user=user).delete()
        paper = StaticDevice.objects.create(user=user, name="Recovery codes")
        StaticToken.objects.bulk_create(StaticToken(device=paper, token=kept(code)) for code in codes)
    return codes


def in_fours(text: str) -> str:
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def bare(code: str) -> str:
    """A code as people type it, without what they put between its groups."""
    return "".join(code.split()).replace("-", "").lower()


def kept(code: str) -> str:
    """What the database keeps of a recovery code: as much of a keyed hash as its column holds."""
    return salted_hmac("attune.recovery-code", bare(code)).hexdigest()[:16]


def is_set_up(user: User) -> bool:
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def is_verified(request: HttpRequest) -> bool:
    """Whether a device of the user's has opened this session."""
    return getattr(request.user, "otp_device", None) is not None


def device_for(user: User, code: str) -> Device | None:
    """What a code that looks like this comes from: six digits from the app, else the paper."""
    typed = bare(code)
    kind = TOTPDevice if typed.isdecimal() and len(typed) == 6 else StaticDevice
    device: Device | None = kind.objects.filter(user=user, confirmed=True).first()
    return device


def wait(device: Device) -> int:
    """Seconds until another code is looked at: 1, 2, 4 ... after so many wrong ones."""
    allowed, why = device.verify_is_allowed()
    return 0 if allowed else math.ceil((why["locked_until"] - timezone.now()).total_seconds())


def verified(device: Device, code: str) -> bool:
    """Whether the code is right. It is used up then."""
    typed = kept(code) if isinstance(device, StaticDevice) else bare(code)
    return verify_token(device.user, device.persistent_id, typed) is not None


def recovery_codes_left(user: User) -> int:
    return int(StaticToken.objects.filter(device__user=user).count())


def reset(user: User) -> bool:
    """Forget phone and paper: the user sets up anew at the next sign-in. Returns whether there was anything."""
    with transaction.atomic():
        deleted = [kind.objects.filter(user=user).delete()[0] for kind in KINDS]
    return any(deleted)


def stop_waiting(user: User) -> bool:
    """Look at the user's next code at once. Returns whether any was wrong before."""
    start = {"throttling_failure_timestamp": None, "throttling_failure_count": 0}
    wrong = [kind.objects.filter(user=user, throttling_failure_count__gt=0).update(**start) for kind in KINDS]
    return any(wrong)
