"""CalcJobs of ``mlfc-run``."""
