"""Settings of an Attune site. The environment is read here and nowhere else.

ATTUNE_DEBUG          1 for development; off by default.
ATTUNE_SECRET_KEY     required when debug is off; also keys the pseudonyms of panel ids.
ATTUNE_ALLOWED_HOSTS  comma-separated host names.
ATTUNE_HTTPS          0 only behind no TLS at all (a try-out on one machine).
ATTUNE_SECOND_FACTOR  0 lets clinicians and staff in with a password alone (a try-out); 0 with debug by default, else 1.
ATTUNE_IDLE_MINUTES   minutes without a request after which clinicians and staff sign in again; 30 by default.
ATTUNE_SESSION_HOURS  hours after which they do in any case; 12 by default.
ATTUNE_VAR            folder of runs, data sets and the SQLite file; ./var by default.
ATTUNE_MODELS         folder of the base models; models below ATTUNE_VAR by default.
DATABASE_URL          postgres://... for PostgreSQL; SQLite in ATTUNE_VAR by default.
ATTUNE_JUDGE_API_KEY  key for the LLM judge's endpoint; most local servers need none.
ATTUNE_GENERATION_API_KEY
                      key for the endpoint that generate_responses asks; most local servers need none.
"""

import os
from datetime import timedelta
from pathlib import Path

import dj_database_url
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent


def flag(name: str, default: str) -> bool:
    value = os.environ.get(name, default)
    if value not in {"0", "1"}:
        raise ImproperlyConfigured(f"{name} is {value!r}: set it to 0 or 1")
    return value == "1"


def whole(name: str, default: str) -> int:
    value = os.environ.get(name, default)
    if not value.isdecimal() or int(value) == 0:
        raise ImproperlyConfigured(f"{name} is {value!r}: set it to a whole number above 0")
    return int(value)


DEBUG = flag("ATTUNE_DEBUG", "0")
HTTPS = flag("ATTUNE_HTTPS", "0" if DEBUG else "1")
SECOND_FACTOR = flag("ATTUNE_SECOND_FACTOR", "0" if DEBUG else "1")
SECRET_KEY = os.environ.get("ATTUNE_SECRET_KEY", "only-for-development" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "ATTUNE_SECRET_KEY is not set: set it to a long random string, or ATTUNE_DEBUG=1 to try things out"
    )
ALLOWED_HOSTS = os.environ.get("ATTUNE_ALLOWED_HOSTS", "127.0.0.1,localhost").split(",")
VAR_DIR = Path(os.environ.get("ATTUNE_VAR", BASE_DIR / "var")).resolve()
MODELS_DIR = Path(os.environ.get("ATTUNE_MODELS", VAR_DIR / "models")).resolve()
JUDGE_API_KEY = os.environ.get("ATTUNE_JUDGE_API_KEY", "none")
GENERATION_API_KEY = os.environ.get("ATTUNE_GENERATION_API_KEY", "none")

# Ours come last: their admin takes the place of what others registered.
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "template_partials",
    "rest_framework",
    "rest_framework.authtoken",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "axes",
    "evaluation",
    "training",
    "annotation",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "annotation.sign_in.SignInMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

if url := os.environ.get("DATABASE_URL"):
    if not url.startswith(("postgres://", "postgresql://", "sqlite://")):
        raise ImproperlyConfigured("DATABASE_URL must be postgres://USER:PASSWORD@HOST/NAME; without it SQLite is used")
    DATABASES = {"default": dj_database_url.parse(url)}
else:
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(VAR_DIR / "attune.sqlite3")}}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A write transaction takes its lock when it begins, so two writers queue instead of failing half-way.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    # A file, as in production: an in-memory database would hide every race.
    DATABASES["default"]["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
    VAR_DIR.mkdir(parents=True, exist_ok=True)
else:
    # A pool may hand out a connection that the server closed long ago, as during hours of training.
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {"min_size": 1, "max_size": 8, "timeout": 20}
    # Tells the site's own writing from that of psql in the trail of verdicts.
    DATABASES["default"]["OPTIONS"].setdefault("application_name", "attune")
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # What a report computed and drew: files, so that it outlives a restart and serves every process.
    "reports": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": VAR_DIR / "cache" / "reports",
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "annotation.roles.RoleBackend"]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign-in"
OTP_TOTP_ISSUER = "Attune"

# Five failures in a row lock a user name out for a quarter of an hour, in all browsers that have not signed in by it;
# one that has is counted by itself. Not by address: in a clinic or behind a proxy many share one, an attacker has many,
# and so none is stored. What is kept is said in annotation.lockout.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_PARAMETERS = ["username"]
AXES_LOCKOUT_TEMPLATE = "registration/locked_out.html"
AXES_HANDLER = "annotation.lockout.LeanHandler"
AXES_USERNAME_CALLABLE = "annotation.lockout.pseudonym"
AXES_SENSITIVE_PARAMETERS = ["username", "code", "old_code", "offer", "next", "csrfmiddlewaretoken"]
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
AXES_DISABLE_ACCESS_LOG = True
SILENCED_SYSTEM_CHECKS = ["axes.W006"]  # It asks for the address.

# A participant may rest for days and come back on the same phone. Whoever signed in has less time.
SESSION_COOKIE_AGE = 60 * 60 * 24 * 30
IDLE_SECONDS = 60 * whole("ATTUNE_IDLE_MINUTES", "30")
SIGNED_IN_SECONDS = 60 * 60 * whole("ATTUNE_SESSION_HOURS", "12")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SECURE_HSTS_SECONDS = 60 * 60 * 24 * 365 if HTTPS else 0
SECURE_SSL_REDIRECT = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    },
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = VAR_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage",
    },
}

REST_FRAMEWORK = {
    # No Basic authentication: it would pass the second factor by.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        "annotation.api_tokens.ApiTokenAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
    "PAGE_SIZE": 100,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        # Retries at an endpoint are many and routine; what comes of them is said by the command.
        "stamina": {"level": "ERROR"},
        # On some CPUs it tells at each start of a faster kernel that can be had.
        "bitsandbytes": {"level": "ERROR"},
    },
}
