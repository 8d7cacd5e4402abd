"""The web process stays small: no training library is imported by serving pages."""

import subprocess
import sys

HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "matplotlib", "sklearn", "openai"}


def test_the_site_starts_without_training_libraries():
    code = (
        "import sys, os; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings';"
        "from config.wsgi import application; from django.urls import get_resolver; get_resolver().url_patterns;"
        "import annotation.admin, training.admin, evaluation.admin;"
        f"print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_served_site_refuses_to_start_without_its_style(tmp_path):
    environment = {
        "PATH": "/usr/bin:/bin",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ATTUNE_SECRET_KEY": "x" * 60,
        "ATTUNE_VAR": str(tmp_path),
    }
    serve = [sys.executable, "-c", "import config.wsgi"]
    result = subprocess.run(serve, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode != 0
    assert "run `manage.py collectstatic --no-input`" in result.stderr
    collect = [sys.executable, "manage.py", "collectstatic", "--no-input"]
    subprocess.run(collect, capture_output=True, env=environment, check=True)
    assert subprocess.run(serve, env=environment, check=False).returncode == 0


def test_a_served_site_refuses_to_start_without_a_secret():
    environment = {"PATH": "/usr/bin:/bin", "DJANGO_SETTINGS_MODULE": "config.settings"}
    result = subprocess.run(
        [sys.executable, "-c", "import config.wsgi"], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode != 0
    assert "ATTUNE_SECRET_KEY is not set" in result.stderr
