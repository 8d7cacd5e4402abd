"""Agreement of all labels and, beside it, of each stratum."""

from typing import Any

import pandas as pd

from evaluation.agreement import agreement, only_judge
from evaluation.ratings import HUMAN


def agreement_with_strata(frame: pd.DataFrame, **settings: Any) -> dict[str, Any]:
    """What `agreement` says of the frame and, where it has a column stratum, under `strata` of each that people rated.

    Labels without a stratum, an empty text, count in the whole alone.

    Raises:
        ValueError: as `agreement`, or no label has a stratum.
    """
    result = agreement(frame, **settings)
    if "stratum" not in frame:
        return result
    kept = only_judge(frame, settings.get("judge"))
    rated = sorted(set(kept.loc[kept["rater_kind"] == HUMAN, "stratum"].astype(str)) - {""})
    if not rated:
        raise ValueError("no label has a stratum")
    parts = {name: agreement(kept[kept["stratum"] == name], **{**settings, "judge": None}) for name in rated}
    shown = {name: {key: part[key] for key in ("criteria", "pooled")} for name, part in parts.items()}
    return {**result, "strata": shown}
