"""Tokens for researchers' scripts: made in the admin, shown once, kept as a hash."""

import hashlib
import secrets
from typing import Any

from django.contrib.auth.models import User
from rest_framework.authentication import TokenAuthentication
from rest_framework.authtoken.models import Token


def kept(key: str) -> str:
    """What the database keeps of a token: 160 bits of its SHA-256, as many as its column holds."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def issue(user: User) -> str:
    """A new token of the user, in place of the one before."""
    key = secrets.token_urlsafe(32)
    Token.objects.filter(user=user).delete()
    Token.objects.create(user=user, key=kept(key))
    return key


class ApiTokenAuthentication(TokenAuthentication):
    def authenticate_credentials(self, key: str) -> tuple[Any, Any]:
        return super().authenticate_credentials(kept(key))
