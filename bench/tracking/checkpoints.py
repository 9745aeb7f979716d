"""Weights in MLflow: kept with their run, and registered as versions of a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.tracking.store import RUN_TAG, explained_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

REGISTERED_TAG = "sharpbench.checkpoint"
"""Tag: the registered model and its version that hold a run's weights."""


def log_weights(client: MlflowClient, run_id: str, weights: Path, digest: str) -> None:
    """Keep a run's weights with it, with their SHA-256, and register them."""
    with explained_errors(client.tracking_uri):
        client.log_artifact(run_id, str(weights), "weights")
        client.set_tag(run_id, "weights_sha256", digest)
    register(client, run_id)


def register(client: MlflowClient, run_id: str) -> str:
    """Enter a run's weights into the model registry, once; return name/version, "" where the store has no weights.

    The registered model is named after the run and its profile. Each training of it is a version, whose tag
    `weights_sha256` identifies the file. The alias `newest` is the version registered last.
    """
    with explained_errors(client.tracking_uri):
        run = client.get_run(run_id)
        tags = run.data.tags
        if REGISTERED_TAG in tags or not client.list_artifacts(run_id, "weights"):
            return str(tags.get(REGISTERED_TAG, ""))
        name = f"{tags[RUN_TAG]}-{tags['profile']}"
        if not client.search_registered_models(f"name = '{name}'"):
            _create_model(client, name, {key: tags[key] for key in ("method", "dataset", "task", "profile")})
        same = [version for version in client.search_model_versions(f"name = '{name}'") if version.run_id == run_id]
        version = (
            same[0]
            if same
            else client.create_model_version(
                name,
                f"{run.info.artifact_uri}/weights",
                run_id,
                tags={"weights_sha256": tags["weights_sha256"]},
                description=tags.get("mlflow.note.content"),
            )
        )
        client.set_registered_model_alias(name, "newest", version.version)
        client.set_tag(run_id, REGISTERED_TAG, f"{name}/{version.version}")
    return f"{name}/{version.version}"


def _create_model(client: MlflowClient, name: str, tags: Mapping[str, str]) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, dict(tags))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process may have been faster
            raise
