"""The WSGI application, for gunicorn: `gunicorn config.wsgi`."""

import os
from importlib import import_module

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

# Without its style and scripts a served site would answer every page with an error.
if not settings.DEBUG and not (settings.STATIC_ROOT / "staticfiles.json").is_file():
    raise ImproperlyConfigured("run `manage.py collectstatic --no-input` before the site is served")

# Imported now, so that no first visitor waits: all pages, and what reports reckon with (numpy, pandas, scipy).
for name in ("config.urls", "evaluation.report_views"):
    import_module(name)
