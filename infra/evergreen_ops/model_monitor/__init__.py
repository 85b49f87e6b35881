"""What comes from SageMaker Model Monitor: its baselines, and models brought from it."""
