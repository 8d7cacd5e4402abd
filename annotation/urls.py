from django.urls import path

from annotation.views import clinician, participant

app_name = "annotation"

urlpatterns = [
    # The participant's path.
    path("s/<slug:slug>/", participant.information, name="information"),
    path("s/<slug:slug>/declined/", participant.declined, name="declined"),
    path("s/<slug:slug>/full/", participant.full, name="full"),
    path("s/<slug:slug>/closed/", participant.closed, name="closed"),
    path("s/<slug:slug>/questions/<int:number>/", participant.questions, name="questions"),
    path("s/<slug:slug>/ready/", participant.ready, name="ready"),
    path("s/<slug:slug>/rank/<int:position>/", participant.note, name="note"),
    path("s/<slug:slug>/rank/<int:position>/<slug:key>/", participant.rank, name="rank"),
    path("s/<slug:slug>/rank/<int:position>/<slug:key>/draft/", participant.draft, name="draft"),
    path("s/<slug:slug>/thank-you/", participant.debrief, name="debrief"),
    path("s/<slug:slug>/help/", participant.get_help, name="help"),
    path("s/<slug:slug>/pause/", participant.pause, name="pause"),
    path("s/<slug:slug>/withdraw/", participant.withdraw, name="withdraw"),
    path("s/<slug:slug>/goodbye/", participant.goodbye, name="goodbye"),
    # The clinician's path.
    path("clinic/", clinician.clinic, name="clinic"),
    path("clinic/<slug:slug>/next/", clinician.next_comparison, name="next-comparison"),
    path("clinic/<slug:slug>/summary/", clinician.summary, name="clinic-summary"),
    path("clinic/<slug:slug>/<int:position>/", clinician.judge, name="judge"),
    path("clinic/<slug:slug>/<int:position>/verdict/", clinician.verdict, name="verdict"),
    path("clinic/<slug:slug>/<int:position>/undo/", clinician.undo, name="undo"),
]
