"""An event for each function, by its name in tests/events."""

CALLS = {
    "collect_feedback": "http_feedback",
    "compare_shadow": "ledger_event",
    "evaluate_triggers": "business_event",
    "finish_training": "training_job_failed",
    "join_labels": "s3_object_created",
    "launch_training": "schedule_retry_training",
    "learn_live": "schedule_evaluate",
    "predict": "http_predict",
    "profile_capture": "s3_object_created",
    "reconcile": "schedule_evaluate",
    "repoint_alias": "ledger_event",
    "score_shadow": "s3_object_created",
    "update_registry": "ledger_event",
    "watch_deployment": "alarm_sns",
}
