#!/usr/bin/env python
"""Run Attune's management commands."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if "ATTUNE_SECRET_KEY" not in os.environ:
        # Commands on a workstation need no secret; a served site (config.wsgi) still refuses to start without one.
        os.environ.setdefault("ATTUNE_DEBUG", "1")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
