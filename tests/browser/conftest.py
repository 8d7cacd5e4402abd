"""The system's Chromium where there is one, else the one that Playwright fetched."""

import shutil

import pytest


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    arguments = {
        **browser_type_launch_args,
        "args": ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
    }
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    return {**arguments, "executable_path": path} if path else arguments


@pytest.fixture
def page(page):
    page.set_default_timeout(10_000)
    return page
