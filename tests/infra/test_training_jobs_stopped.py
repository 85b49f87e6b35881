"""Evergreen's trainer against jobs that really run."""

from __future__ import annotations

from training_world import ROLE, START, TEMPLATE, TIDIES_UP, World, wait_for_output

from evergreen.aws.trainer import SageMakerTrainer
from local_cloud.cloud import LocalCloud


def test_our_trainer_stops_a_job_once_and_whatever_has_become_of_it() -> None:
    with LocalCloud(START) as cloud:
        cloud.deploy_stack(TEMPLATE, stack_name="training")
        stops(World(cloud))


def stops(world: World) -> None:
    trainer = SageMakerTrainer(
        world.cloud.client("sagemaker"), stack="evergreen", role_arn=ROLE, image="image", mlflow_tracking_uri=""
    )
    world.given_script(TIDIES_UP)
    world.when_started()
    wait_for_output(world, "ready")
    for _ in range(2):
        trainer.stop("fraud-1")
    world.when_it_ends()
    trainer.stop("fraud-1")
    trainer.stop("never-started")
    assert trainer.status("fraud-1").status == "Stopped"  # type: ignore[union-attr]
