"""Who takes part in a run, as pure functions of a partition; both runtimes run these."""
