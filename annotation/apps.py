from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class AnnotationConfig(AppConfig):
    name = "annotation"
    verbose_name = "Annotation: what people say"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in
        from django.core import checks

        from annotation import protection, sessions

        pre_migrate.connect(protection.before_migration, sender=self)
        post_migrate.connect(protection.after_migration, sender=self)
        checks.register(protection.check, checks.Tags.database)
        user_logged_in.connect(sessions.begin)
