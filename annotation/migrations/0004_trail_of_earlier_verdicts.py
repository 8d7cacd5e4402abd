from django.db import migrations, models

# From here on triggers write the trail (annotation.protection). Verdicts that stood before begin it.
BEGIN_TRAIL = """
INSERT INTO annotation_verdictevent (at, study_id, rater_id, criterion_id, assignment, "old", "new", "by")
SELECT verdict.changed_at, rater.study_id, rater.id, verdict.criterion_id, verdict.assignment_id, '', verdict.choice,
    'before the trail'
FROM annotation_verdict AS verdict
JOIN annotation_assignment AS assignment ON assignment.id = verdict.assignment_id
JOIN annotation_rater AS rater ON rater.id = assignment.rater_id
WHERE NOT EXISTS (
    SELECT 1 FROM annotation_verdictevent AS event
    WHERE event.assignment = verdict.assignment_id AND event.criterion_id = verdict.criterion_id
)
ORDER BY verdict.id
"""


class Migration(migrations.Migration):

    dependencies = [
        ('annotation', '0003_calibration_split_and_baseline'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='verdictevent',
            index=models.Index(fields=['assignment'], name='verdict_event_assignment'),
        ),
        migrations.RunSQL(BEGIN_TRAIL, migrations.RunSQL.noop),
    ]
