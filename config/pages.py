"""One template serves the page and its htmx fragment."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django_htmx.middleware import HtmxDetails


class HtmxHttpRequest(HttpRequest):
    htmx: HtmxDetails


def render_page(
    request: HtmxHttpRequest, template: str, context: dict[str, Any], *, partial: str, status: int = 200
) -> HttpResponse:
    """The whole page or, for an htmx request that swaps a part of it, the named `{% partialdef %}` alone.

    A history restore asks for the whole page, and so does a boosted link.
    """
    whole = not request.htmx or request.htmx.history_restore_request or request.htmx.boosted
    name = template if whole else f"{template}#{partial}"
    response = render(request, name, context, status=status)
    patch_vary_headers(response, ["HX-Request", "HX-Boosted", "HX-History-Restore-Request"])
    return response
