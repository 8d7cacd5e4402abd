"""The WSGI application, for gunicorn: `gunicorn config.wsgi`."""

import os
from importlib import import_module

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

# Imported now, so that no first visitor waits: all pages, and what reports reckon with (numpy, pandas, scipy).
for name in ("config.urls", "evaluation.report_views"):
    import_module(name)
