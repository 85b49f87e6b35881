"""A whole life in a few events, however they are delivered, and what its history tells in the end."""

from living_cloud import HOUR, MINUTE


def a_life(cloud, deliver):
    """A model is trained, proven, promoted, found to fail, and rolled back; `deliver` delivers what waits."""
    cloud.known()
    cloud.pass_time(2 * HOUR)
    cloud.business_event()
    deliver()
    cloud.end_job(cloud.running_jobs()[0])
    deliver()
    cloud.traffic()
    cloud.pass_time(31 * MINUTE)
    cloud.ticks()
    deliver()
    cloud.pass_time(2 * HOUR)
    cloud.business_event()
    deliver()
    cloud.end_job(cloud.running_jobs()[0], "Failed")
    deliver()
    cloud.pass_time(6 * MINUTE)
    cloud.ticks()
    deliver()
    cloud.end_job(cloud.running_jobs()[0])
    deliver()
    cloud.labels(shadow_is_better=True)
    cloud.pass_time(2 * HOUR)
    cloud.ticks()
    deliver()
    cloud.pass_time(MINUTE)
    cloud.traffic(failing=True)
    cloud.ticks()
    for shape in ("direct", "eventbridge", "sns"):
        cloud.alarm(shape)
    deliver()


LIFE = {
    "ModelApplied": 1,
    "RetrainingRequested": 2,
    "TrainingStarted": 3,
    "TrainingFailed": 1,
    "CandidateRegistered": 2,
    "PromotionApproved": 2,
    "VersionPromoted": 2,
    "BakePassed": 1,
    "ShadowStarted": 1,
    "RollbackDecided": 1,
    "VersionRolledBack": 1,
}
