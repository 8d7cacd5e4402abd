"""The environment of the tests, set before Django reads it (see addopts in pyproject.toml)."""

import os
import tempfile

import pytest

os.environ.setdefault("ATTUNE_MODELS", os.path.join(os.getcwd(), "var", "models"))  # noqa: PTH109, PTH118
os.environ["ATTUNE_DEBUG"] = "1"
os.environ["ATTUNE_VAR"] = tempfile.mkdtemp(prefix="attune-test-")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Playwright's synchronous API runs an event loop in the test's thread; the ORM would refuse to work beside it.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Passwords that are slow to guess are slow to test with."""
    from django.conf import settings

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
