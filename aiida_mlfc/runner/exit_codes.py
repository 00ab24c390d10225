"""Exit codes of ``mlfc-run`` other than 0: all structures done."""

EXIT_BAD_JOB, EXIT_BAD_POTENTIAL, EXIT_SOME_FAILED, EXIT_CANNOT_WRITE, EXIT_WORKERS_DIED = 2, 3, 4, 5, 6
EXIT_TERMINATED = 143
