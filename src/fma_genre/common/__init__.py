"""Infrastructure that all stages share. Nothing in it can change a result, so dvc.yaml does not list it."""
