"""An MLflow server beside the cloud."""
