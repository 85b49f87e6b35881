"""The services of AWS that the cloud completes: each imports those on lower floors, and none imports the cloud."""
