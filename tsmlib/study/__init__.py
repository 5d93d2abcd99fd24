"""The study: plan, runs, gates, statistics, verdicts, and the census of others' trainings."""
