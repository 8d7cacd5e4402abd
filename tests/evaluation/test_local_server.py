import io
import json
from pathlib import Path

import openai
import pytest
from django.core.management import CommandError, call_command

from annotation.errors import InputError
from annotation.models import Split, Verdict
from evaluation.local_server import local_model_server
from evaluation.models import Judge, JudgeReply
from tests.factories import make_prompt, make_response, make_study, make_system


def test_a_file_that_is_not_there_is_refused():
    with (
        pytest.raises(InputError, match=r"nowhere\.gguf: there is no such file"),
        local_model_server(Path("nowhere.gguf")),
    ):
        pass


@pytest.mark.model
@pytest.mark.django_db
def test_a_real_local_model_votes_through_the_whole_path_and_is_labelled_a_toy():
    study = make_study()
    base, aligned = make_system(study, name="Base"), make_system(study, name="Aligned")
    for _ in range(2):
        prompt = make_prompt(study, split=Split.TEST)
        make_response(prompt, base, text="Go to bed earlier.")
        make_response(prompt, aligned, text="That sounds exhausting. What goes through your mind when you lie awake?")
    out = io.StringIO()
    with local_model_server(parallel=2) as endpoint:
        arguments = ("--study", study.slug, "--name", "Small", "--endpoint", endpoint, "--model", "any")
        call_command(
            "judge", *arguments, "--systems", "Base", "Aligned", "--concurrency", "2", stdout=out, stderr=io.StringIO()
        )
        with pytest.raises(CommandError, match="cannot start on port"):
            call_command("serve_local_model", port=int(endpoint.split(":")[2].split("/")[0]))
    assert Verdict.objects.count() == 8
    assert all(set(json.loads(reply.text)) == {"empathy", "safety"} for reply in JudgeReply.objects.all())
    assert Judge.objects.get().is_toy
    assert "Small (toy judge): 4 new votes" in out.getvalue()
    with pytest.raises(openai.APIConnectionError):
        openai.OpenAI(base_url=endpoint, api_key="none", max_retries=0).models.list()
