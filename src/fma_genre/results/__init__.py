"""From predictions to metrics, comparison, report and figures."""
