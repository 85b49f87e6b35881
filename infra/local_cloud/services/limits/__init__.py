"""What AWS refuses whoever asks: values that a service's own model rules out, and sizes beyond its quotas."""
