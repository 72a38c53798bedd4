"""Infrastructure of every stage. Nothing here can change a result, so dvc.yaml does not list it."""
